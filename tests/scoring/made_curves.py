"""Curves that are made up."""

from __future__ import annotations

import csv

import numpy as np

from l2o_cli.scoring.curves import Curve


def made(losses, *, optimizer="o", problem="p", seed=0, trial=0, every=10, pace=0.1, validation=None):
    """The records of a run, `every` steps and `pace` seconds a step apart; `losses` begins with the initial one."""
    steps = np.arange(len(losses)) * every
    known = {"train": np.array(losses, np.float64)}
    if validation is not None:
        known["validation"] = np.array(validation, np.float64)
    return Curve(problem, optimizer, trial, seed, steps, steps * pace, known)


def write(folder, curves):
    """As `l2o compare` writes them."""
    with (folder / "curves.csv").open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("problem", "optimizer", "trial", "seed", "step", "seconds", "train_loss", "validation_loss"))
        for curve in curves:
            for record, (step, second) in enumerate(zip(curve.steps, curve.seconds, strict=True)):
                validation = f"{curve.losses['validation'][record]:.8g}" if "validation" in curve.losses else ""
                train = f"{curve.losses['train'][record]:.8g}"
                lines.writerow(
                    (curve.problem, curve.optimizer, curve.trial, curve.seed, step, f"{second:.8g}", train, validation)
                )
    return folder
