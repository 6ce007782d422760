"""Networks of images, one paper a file."""
