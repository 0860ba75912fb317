"""Runs: making them, keeping them."""
