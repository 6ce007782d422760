"""Networks of text, one paper a file."""
