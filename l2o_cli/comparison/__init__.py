"""Contenders and tuned baselines on problems and at the values of sweeps: what is run, and the tables of it."""
