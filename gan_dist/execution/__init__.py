"""One attempt at a run, wherever it runs: preflight, rehearsal, events, in this process or on Ray."""
