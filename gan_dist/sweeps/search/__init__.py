"""What a sweep tries next, as pure functions of its history."""
