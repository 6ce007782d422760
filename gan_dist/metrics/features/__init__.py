"""Feature extractors that metrics compare by."""
