"""What came of a sweep, as tables, plots and pages."""
