"""Optimizers on disk, and in Keras models."""
