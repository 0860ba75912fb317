"""The instances of one problem family that are being meta-trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from l2o_cli.meta import horizons
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.rollout import RUNNING, Carry, draw_task, select, start
from l2o_cli.spec import Lengths
from problems.base import Problem, Task


def derive_seed(seed: int, *path: int) -> int:
    """A seed for one purpose within a run, the same whenever and wherever it is asked for."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] & 0x7FFFFFFF)


# Purposes for which seeds are derived from a population's seed.
_INSTANCES, _HORIZONS = range(2)


class Population:
    """Carries and horizons; instances at the end of their horizon, or diverged, are replaced between truncations.

    The instances are drawn when they are first asked for. Each remembers the meta-step at which it was drawn, from which
    its task can be drawn again: a snapshot holds no tasks, which may be large.
    """

    def __init__(self, problem: Problem, optimizer: Optimizer, lengths: Lengths, instances: int, seed: int):
        self.problem, self.optimizer, self.lengths, self.instances = problem, optimizer, lengths, instances
        self._seed = seed
        self._carry: Carry | None = None
        self._drawn_at = np.zeros(instances, np.int32)  # meta-steps
        self.horizon = np.zeros(instances, np.int32)  # steps, one per instance
        self._restored: Mapping[str, tf.Tensor] | None = None

    def carry(self, weights: Weights, meta_step: int) -> Carry:
        """The instances, drawn or restored now if they have not been; `meta_step` updates were made so far."""
        if self._carry is None and self._restored is not None:
            self._carry, self._restored = self._rebuilt(self._restored), None
        elif self._carry is None:
            self._carry = self._start(weights, meta_step)
            self._drawn_at[:] = meta_step
            self.horizon = self._draw_horizons(meta_step)
        return self._carry

    def advance(self, carry: Carry, weights: Weights, meta_step: int) -> int:
        """Take over what a truncation left and draw finished and diverged instances anew; how many they were."""
        finished = (carry.step.numpy() >= self.horizon) | (carry.diverged.numpy() != RUNNING)
        count = int(finished.sum())
        if count:
            carry = select(tf.constant(finished), self._start(weights, meta_step), carry)
            self._drawn_at = np.where(finished, np.int32(meta_step), self._drawn_at)
            self.horizon = np.where(finished, self._draw_horizons(meta_step), self.horizon)
        self._carry = carry
        return count

    def snapshot(self) -> dict[str, tf.Tensor]:
        """All that `restore` needs; nothing before the first draw."""
        if self._restored is not None:
            return dict(self._restored)
        if self._carry is None:
            return {}
        leaves = _named_leaves(self._carry.without_task())
        return leaves | {"horizon": tf.constant(self.horizon), "drawn_at": tf.constant(self._drawn_at)}

    def restore(self, leaves: Mapping[str, tf.Tensor]) -> None:
        """Be what a snapshot was taken of."""
        self._carry, self._restored = None, dict(leaves) or None
        if leaves:
            self.horizon, self._drawn_at = leaves["horizon"].numpy(), leaves["drawn_at"].numpy()

    def _rebuilt(self, leaves: Mapping[str, tf.Tensor]) -> Carry:
        """The carry of a snapshot, its tasks drawn again."""
        draws = {int(step): self._task(int(step)) for step in np.unique(self._drawn_at)}
        newest = next(reversed(draws.values()))
        rows = [draws[int(step)] for step in self._drawn_at]
        task = {name: tf.stack([row[name][index] for index, row in enumerate(rows)]) for name in newest}
        fields: dict = {"task": task, "state": {}, "memory": {}}
        for path, leaf in leaves.items():
            field, _, key = path.partition("/")
            if key:
                fields[field][key] = leaf
            elif field in Carry._fields:
                fields[field] = leaf
        return Carry(**fields)

    def _draw_seed(self, meta_step: int) -> int:
        return derive_seed(self._seed, _INSTANCES, meta_step)

    def _start(self, weights: Weights, meta_step: int) -> Carry:
        return start(self.problem, self.optimizer, weights, self._draw_seed(meta_step), self.instances)

    def _task(self, meta_step: int) -> Task:
        return draw_task(self.problem, self._draw_seed(meta_step), self.instances)

    def _draw_horizons(self, meta_step: int) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self._seed, _HORIZONS, meta_step))
        return horizons.draw(self.lengths, rng, self.instances)


def _named_leaves(carry: Carry) -> dict[str, tf.Tensor]:
    """The leaves of a carry by path: "params", "state/hidden", ..."""
    leaves: dict[str, tf.Tensor] = {}
    for field, value in carry._asdict().items():
        leaves |= {f"{field}/{key}": leaf for key, leaf in value.items()} if isinstance(value, dict) else {field: value}
    return leaves
