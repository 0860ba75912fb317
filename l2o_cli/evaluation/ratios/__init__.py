"""Final losses over those of the first baseline, at every problem of a comparison and every value of its sweeps."""
