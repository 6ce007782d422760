"""A trained model and what is made with it: loading, samples, grids, interpolation, translation, export."""
