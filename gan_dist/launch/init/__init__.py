"""`gan-dist init`: a job that fits the data at hand."""
