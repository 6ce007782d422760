"""The job as data: YAML with line numbers, merging, and the frozen models everything else is written against.

Nothing here imports torch, Ray or a user's code.
"""
