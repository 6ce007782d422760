"""Text as data: sentences of files, splits, held-out parts, oracles."""
