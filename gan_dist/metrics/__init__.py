"""How far generated samples are from real ones: extractors of features, and metrics that compare these."""
