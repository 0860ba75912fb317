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
        self._steps = tf.constant(spec.steps)
        optimizer, weights = optimizer.over(spec.steps), optimizer.init_weights(0)
        self._layout = weights_layout(weights)
        objective = (spec.objective or objective).model_copy(update={"imitation": None})
        self._runs = []
        for index, entry in enumerate(spec.problems):
            problem = entry.make()
            measured = MeasuredObjective(objective, problem, adam_of(problem), entry.title)
            whole = Truncation(problem, optimizer, self._layout, measured, Estimator(divergence=None), spec.steps, xla)
            # Learned initial states are read from the weights again when the run begins.
            carry = start(problem, optimizer, weights, derive_seed(seed, index), spec.instances)
            self._runs.append((entry.title, whole, carry))

    def scores(self, weights: Weights) -> tuple[Score, ...]:
        return tuple(self._score(*run, packed(weights, self._layout)) for run in self._runs)

    def _score(self, title: str, whole: Truncation, carry: Carry, vector: tf.Tensor) -> Score:
        values, after, losses = whole.run(vector, carry, self._steps)
        ratios = losses[-1].numpy() / after.initial_loss.numpy()
        ratios = np.where(np.isfinite(ratios), ratios, np.inf)
        diverged = int((after.diverged.numpy() != RUNNING).sum())
        return Score(title, float(np.mean(values)), float(np.median(ratios)), diverged)


def overall(scores: Sequence[Score]) -> float:
    """The mean objective over the validation problems."""
    return float(np.mean([score.objective for score in scores]))
