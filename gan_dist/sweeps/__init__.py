"""A sweep: which configurations are tried, which of them are promoted, what is remembered, and how they rank.

The record of a sweep (`trial_log`) is its only state. Samplers and schedulers decide from it alone, so a resumed sweep
goes on as if it had not stopped. Ray Tune, or a loop in this process, runs what is decided.
"""
