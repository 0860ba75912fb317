"""Meta-validation: how good weights are on problems that are not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from l2o_cli.meta.objectives import run_objective
from l2o_cli.meta.population import derive_seed
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.rollout import RUNNING, Rollout
from l2o_cli.spec import Objective, Validation


@dataclass(frozen=True)
class Score:
    """How weights did on one problem."""

    problem: str
    objective: float  # mean over instances and steps, diverged steps at their worst; less is better
    final_ratio: float  # median over instances of the last loss divided by the first
    diverged: int  # instances


class Validator:
    """Runs weights on the validation problems, always the same instances, minibatches and noise."""

    def __init__(self, spec: Validation, objective: Objective, optimizer: Optimizer, seed: int, xla: bool):
        self._spec, self._objective = spec, objective
        weights = optimizer.init_weights(0)
        self._runs = []
        for index, problem_spec in enumerate(spec.problems):
            rollout = Rollout(problem_spec.make(), optimizer, maximum=spec.steps, xla=xla)
            # Learned initial states are read from the weights again when the run begins.
            carry = rollout.start(weights, derive_seed(seed, index), spec.instances)
            self._runs.append((problem_spec.title, rollout, carry))

    def scores(self, weights: Weights) -> list[Score]:
        return [self._score(title, rollout, carry, weights) for title, rollout, carry in self._runs]

    def _score(self, title, rollout, carry, weights) -> Score:
        after, losses = rollout(weights, carry, self._spec.steps)
        bound = rollout.problem.lower_bound(carry.task)
        objectives = run_objective(self._objective, losses, after.initial_loss, bound).numpy()
        ratios = losses[-1].numpy() / after.initial_loss.numpy()
        ratios = np.where(np.isfinite(ratios), ratios, np.inf)
        diverged = int((after.diverged.numpy() != RUNNING).sum())
        return Score(title, float(objectives.mean()), float(np.median(ratios)), diverged)


def overall(scores: Sequence[Score]) -> float:
    """The mean objective over the validation problems."""
    return float(np.mean([score.objective for score in scores]))
