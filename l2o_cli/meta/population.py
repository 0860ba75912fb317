"""The instances of one problem family that are being meta-trained on."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from l2o_cli.meta import horizons
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.rollout import RUNNING, Carry, select, start
from l2o_cli.spec import Lengths
from problems.base import Problem


def derive_seed(seed: int, *path: int) -> int:
    """A seed for one purpose within a run, the same whenever and wherever it is asked for."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] & 0x7FFFFFFF)


class Population:
    """Carries and horizons; instances at the end of their horizon, or diverged, are replaced between truncations."""

    def __init__(self, problem: Problem, optimizer: Optimizer, lengths: Lengths, instances: int, seed: int):
        self.problem, self.optimizer, self.lengths, self.instances = problem, optimizer, lengths, instances
        self._seed = seed
        self.carry: Carry | None = None
        self.horizon = np.zeros(instances, np.int32)  # steps, one per instance

    def begin(self, weights: Weights) -> None:
        """Draw all instances for the first time."""
        self.carry = start(self.problem, self.optimizer, weights, derive_seed(self._seed, 0), self.instances)
        self.horizon = self._draw_horizons(0)

    def replace_finished(self, weights: Weights, meta_step: int) -> int:
        """Draw anew the instances that are finished or diverged after `meta_step`; how many they were."""
        assert self.carry is not None
        finished = (self.carry.step.numpy() >= self.horizon) | (self.carry.diverged.numpy() != RUNNING)
        count = int(finished.sum())
        if count:
            fresh = start(self.problem, self.optimizer, weights, derive_seed(self._seed, 1, meta_step), self.instances)
            self.carry = select(tf.constant(finished), fresh, self.carry)
            self.horizon = np.where(finished, self._draw_horizons(meta_step), self.horizon)
        return count

    def _draw_horizons(self, meta_step: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self._seed, 2, meta_step))
        return horizons.draw(self.lengths, rng, self.instances)
