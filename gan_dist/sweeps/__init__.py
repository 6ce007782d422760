"""A sweep: which configurations are tried, which of them go on, what is remembered, and how they rank.

What is decided here depends on what came of the trials so far and on nothing else, so that a resumed sweep goes on as
if it had not stopped. Ray Tune, or a loop in this process, runs what is decided.
"""
