"""Results as pages, plots and TensorBoard."""
