"""What evaluation takes and gives: a contender and one run.

Shape letters: N steps of a run, R records of a run (one before the first step, one after each window).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:  # scoring saved curves needs no Keras
    from l2o_cli.optimizers.base import Optimizer


class Labelled(Protocol):
    """What has a name for tables and plots, and comes from somewhere."""

    @property
    def label(self) -> str: ...
    @property
    def source(self) -> str: ...


class Contender(Labelled, Protocol):
    """An optimizer with its weights."""

    @property
    def optimizer(self) -> Optimizer: ...
    @property
    def weights(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Measured:
    """What is measured of a run."""

    losses: np.ndarray  # [N], the minibatch loss of each step before its update; NaN after the divergence
    seconds: np.ndarray  # [R], wall-clock of the compiled loop, divided by the instances that ran together
    validation: np.ndarray | None  # [R], NaN where not measured and after the divergence; None: nothing is held out
    diverged_at: int | None  # the step whose loss or update was not finite
    test: float | None = None  # the loss on the test split after the last step, NaN if the run diverged; None: not measured


@dataclass(frozen=True, kw_only=True)
class Run(Measured):
    """One (problem, optimizer, hyperparameters, seed) for N steps."""

    problem: str
    optimizer: str
    trial: int  # 0 for a learned optimizer, else the index of the hyperparameter setting
    hyperparameters: dict[str, float]  # of a hand-designed optimizer, all of them; {} for a learned one
    seed: int
    every: int  # steps per window

    @property
    def steps(self) -> int:
        return len(self.losses)

    def mean_losses(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The updates made by 0, width, 2 width, ..., N steps, and the mean minibatch loss of the steps since the last of these.

        The first is the initial loss. NaN from the divergence on. With `every` as the width, they are those of the records, [R].
        """
        starts = np.arange(0, self.steps, width)
        ends = np.append(starts[1:], self.steps)
        with np.errstate(over="ignore", invalid="ignore"):
            means = np.add.reduceat(self.losses.astype(np.float64), starts) / (ends - starts)
        if self.diverged_at is not None:  # by an update that was not finite, maybe, after a loss that was
            means[ends > self.diverged_at] = np.nan
        means = np.append(self.losses[0], means)
        return np.append(0, ends), np.where(np.isfinite(means), means, np.nan)
