"""Choosing a baseline's hyperparameters."""
