"""Trackers: where else a run is shown while it trains. TensorBoard's files are part of every run and no tracker."""
