"""Changes of pictures before D sees them, one paper a file."""
