"""What is stored of a run: its folder, checkpoints, logs, and the index of runs."""
