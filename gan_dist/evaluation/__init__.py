"""How good a run is: metrics of samples, comparisons, signs of collapse."""
