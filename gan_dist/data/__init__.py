"""From files to equal, shuffled, resumable batches: sources list, images decode, read collects, ingest serves."""
