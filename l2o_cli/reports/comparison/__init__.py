"""Of comparisons and evaluations."""
