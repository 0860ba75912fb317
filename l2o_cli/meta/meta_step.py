"""A meta-step as values: what each family is asked and answers, and the records of what came of it.

All are numbers, texts and numpy arrays, which can be pickled and sent. The trainer makes the records; `writers.py` and the
progress display take them in. Shape letters: F families of a meta-step, W all weights packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from l2o_cli.meta.validation import Score
from l2o_cli.meta.watchdog import RunWarning

COLUMNS = {
    "metrics": (
        *("meta_step", "problem", "truncation", "meta_loss", "gradient_norm", "nonfinite_entries", "diverged", "replaced"),
        *("mean_norm", "skipped", "learning_rate", "inner_steps", "seconds", "compile_seconds"),
    ),
    "validation": ("meta_step", "problem", "objective", "final_ratio", "diverged", "rolled_back"),
    "horizons": ("meta_step", "problem", "horizon"),
}
ASYNCHRONOUS = ("age", "late")  # further columns of metrics.csv, of asynchronous runs
DIAGNOSTIC = "estimator_{}"  # further columns of metrics.csv

Rows = list[dict[str, Any]]
Events = tuple[dict[str, float], Mapping[str, np.ndarray]]  # scalars and histograms of TensorBoard, by their tags


@dataclass(frozen=True)
class FamilyRequest:
    """Asks for the meta-gradient of one truncation of a family."""

    meta_step: int  # updates of the weights made so far
    family: int  # its index
    truncation: int  # inner steps
    weights: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class FamilyRecord:
    """What became of a family in a meta-step: with the gradient the answer to a `FamilyRequest`."""

    family: int  # its index
    problem: str  # its title
    truncation: int  # inner steps
    meta_loss: float
    gradient_norm: float  # of its meta-gradient, before clipping
    nonfinite_entries: int  # of it, set to 0
    diverged: int  # instances frozen at the end of the truncation
    replaced: int  # instances drawn anew after it
    inner_steps: int  # over all instances
    compile_seconds: float  # of the first truncation in this process, which compiles; else 0
    horizons: tuple[int, ...]  # of the instances that start, at first or in place of others, in inner steps
    diagnostics: Mapping[str, float]  # of the estimator
    age: int = 0  # updates made since the weights that it is of


Answer = tuple[np.ndarray, FamilyRecord]  # a meta-gradient [W], and what became of its family


@dataclass(frozen=True)
class WorkersRecord:
    """The workers of a run, so far."""

    count: int  # of now
    lost: int
    waiting: float  # the share of their time in which they had nothing to compute


@dataclass(frozen=True)
class UpdateRecord:
    """One update of the weights."""

    meta_step: int  # updates made, this one included
    families: tuple[FamilyRecord, ...]
    gradients: np.ndarray  # [F, W]
    mean_norm: float  # of the combined meta-gradient that was applied
    skipped: bool  # it was zero or not finite, and nothing moved
    learning_rate: float
    seconds: float  # of the whole meta-step, without validation
    late: int = 0  # meta-gradients that came too late for this one, and were dropped
    workers: WorkersRecord | None = None  # None: it was made in one process

    @property
    def meta_loss(self) -> float:
        """The mean over the families."""
        return float(np.mean([family.meta_loss for family in self.families]))

    @property
    def inner_steps(self) -> int:
        """Over all instances of all families."""
        return sum(family.inner_steps for family in self.families)

    def rows(self) -> dict[str, Rows]:
        """Those of the tables."""
        common = {name: getattr(self, name) for name in ("meta_step", "mean_norm", "learning_rate", "late")}
        common |= {"skipped": int(self.skipped), "seconds": round(self.seconds, 4)}
        metrics, horizons = [], []
        for family in self.families:
            diagnostics = {DIAGNOSTIC.format(name): value for name, value in family.diagnostics.items() if "/" not in name}
            compile_seconds = round(family.compile_seconds, 4)
            metrics.append(vars(family) | common | diagnostics | {"compile_seconds": compile_seconds})
            row = {"meta_step": self.meta_step, "problem": family.problem}
            horizons += [row | {"horizon": horizon} for horizon in family.horizons]
        return {"metrics": metrics, "horizons": horizons}

    def events(self) -> Events:
        scalars = {f"meta_loss/{family.problem}": family.meta_loss for family in self.families}
        for family in self.families:
            scalars |= {f"estimator/{name}/{family.problem}": value for name, value in family.diagnostics.items()}
        scalars |= {"mean_norm": self.mean_norm, "learning_rate": self.learning_rate}
        return scalars | {"inner_steps_per_second": self.inner_steps / self.seconds}, {"meta_gradient": self.gradients}


@dataclass(frozen=True)
class ValidationRecord:
    """One validation of the averaged weights."""

    meta_step: int  # updates made before it
    scores: tuple[Score, ...]
    score: float  # the mean objective
    best: bool  # whether it is the least so far
    rolled_back: bool  # whether the run then went back to its best weights
    rollbacks: int  # how often it did so far
    average: Mapping[str, np.ndarray]  # the averaged weights afterwards

    def rows(self) -> dict[str, Rows]:
        """Those of the tables."""
        common = {"meta_step": self.meta_step, "rolled_back": int(self.rolled_back)}
        return {"validation": [common | vars(score) for score in self.scores]}

    def events(self) -> Events:
        scalars = {f"validation/{score.problem}": score.objective for score in self.scores}
        scalars |= {"validation": self.score, "rollbacks": self.rollbacks}
        return scalars, {f"average/{name}": value for name, value in self.average.items()}


@dataclass(frozen=True)
class MetaStepRecord:
    """One meta-step: an update, the validation after it where there was one, and what begins to go wrong."""

    update: UpdateRecord
    validation: ValidationRecord | None
    warnings: tuple[RunWarning, ...]
