"""The Ray side of an attempt: the run, its workers, and tasks such as evaluation on a cluster."""
