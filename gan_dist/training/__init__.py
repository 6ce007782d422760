"""The training of a run: the loop, its stages, state, batches and callbacks."""
