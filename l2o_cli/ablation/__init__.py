"""Variants of a spec, meta-trained for equal minutes."""
