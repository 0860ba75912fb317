"""Loss curves and surfaces as pictures."""
