"""Several processes as one: the worker runtime, randomness by position, gradient reduction, CUDA graphs, devices."""
