"""Sweeps of a comparison: one quantity at several values."""
