"""Of sweeps."""
