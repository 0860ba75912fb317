"""Meta-validation: how good weights are on problems that are not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from l2o_problems.adam_table import adam_of

from l2o_cli.carry import RUNNING, Carry, start
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.meta.population import derive_seed
from l2o_cli.meta.truncation import Truncation, packed, weights_layout
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.spec import Estimator, Objective, Validation


@dataclass(frozen=True)
class Score:
    """How weights did on one problem."""

    problem: str
    objective: float  # mean over the instances, diverged steps at their worst; less is better
    final_ratio: float  # median over instances of the last loss divided by the first
    diverged: int  # instances


class Validator:
    """Runs weights on the validation problems, always the same instances, minibatches and noise."""

    def __init__(self, spec: Validation, objective: Objective, optimizer: Optimizer, seed: int, xla: bool):
        self._spec, self._seed, self._xla = spec, seed, xla
        self._steps = tf.constant(spec.steps)
        self._optimizer = optimizer.over(spec.steps)
        self._weights = self._optimizer.init_weights(0)
        self._layout = weights_layout(self._weights)
        self._objective = (spec.objective or objective).model_copy(update={"imitation": None})
        self._runs: dict[int, tuple[Truncation, Carry]] = {}

    def scores(self, weights: Weights) -> tuple[Score, ...]:
        return tuple(self.score(index, weights) for index in range(len(self._spec.problems)))

    def score(self, index: int, weights: Weights) -> Score:
        """How weights do on the problem of that index."""
        if index not in self._runs:
            self._runs[index] = self._made(index)
        whole, carry = self._runs[index]
        values, after, losses = whole.run(packed(weights, self._layout), carry, self._steps)
        ratios = losses[-1].numpy() / after.initial_loss.numpy()
        ratios = np.where(np.isfinite(ratios), ratios, np.inf)
        diverged = int((after.diverged.numpy() != RUNNING).sum())
        return Score(self._spec.problems[index].title, float(np.mean(values)), float(np.median(ratios)), diverged)

    def _made(self, index: int) -> tuple[Truncation, Carry]:
        spec, entry = self._spec, self._spec.problems[index]
        problem = entry.make()
        measured = MeasuredObjective(self._objective, problem, adam_of(problem), entry.title)
        bare = Estimator(divergence=None)
        whole = Truncation(problem, self._optimizer, self._layout, measured, bare, spec.steps, self._xla)
        # Learned initial states are read from the weights again when the run begins.
        return whole, start(problem, self._optimizer, self._weights, derive_seed(self._seed, index), spec.instances)


def overall(scores: Sequence[Score]) -> float:
    """The mean objective over the validation problems."""
    return float(np.mean([score.objective for score in scores]))
