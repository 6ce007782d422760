"""Regularisers of a network's gradients or weights, one idea a file."""
