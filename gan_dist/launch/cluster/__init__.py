"""Which Ray cluster, how it is reached, and the local one."""
