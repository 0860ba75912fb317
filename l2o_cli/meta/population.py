"""The instances of one problem family that are being meta-trained on."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem
from l2o_problems.transforms.base import under, within

from l2o_cli.carry import RUNNING, Carry, draw, layout_of, select
from l2o_cli.meta import horizons
from l2o_cli.meta.checkpoints import mismatch
from l2o_cli.meta.meta_gradient import MetaGradient, Particles
from l2o_cli.optimizers.base import Weights
from l2o_cli.spec import Lengths


def derive_seed(seed: int, *path: int) -> int:
    """A seed for one purpose within a run, the same whenever and wherever it is derived."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] & 0x7FFFFFFF)


# Purposes for which seeds are derived from a population's seed.
_INSTANCES, _HORIZONS, _INFORMED = range(3)


class Population:
    """Particles and horizons; instances at the end of their horizon, or diverged, are replaced between truncations.

    The instances are drawn when they are first needed. Each remembers the meta-step at which it was drawn, from which
    its task can be drawn again: a snapshot holds no tasks, which may be large.
    """

    def __init__(
        self,
        problem: Problem,
        estimator: MetaGradient,
        lengths: Lengths,
        instances: int,
        seed: int,
        shortest: int | None = None,
        informed: float = 1.0,
    ):
        """Args:
        lengths: of the horizons.
        shortest: the first instances end after a random part of their horizon, of at least so many steps; None: after all
            of it.
        informed: the share of the instances whose optimizer is told their horizon.
        """
        self.problem, self.estimator, self.lengths, self.instances = problem, estimator, lengths, instances
        self._seed, self._shortest, self._informed = seed, shortest, informed
        self._particles: Particles | None = None
        self._drawn_at = np.zeros(instances, np.int32)  # meta-steps
        self.horizon = np.zeros(instances, np.int32)  # steps, one per instance
        self._restored: Mapping[str, tf.Tensor] | None = None
        self._first_at = -1  # the meta-step at which all were first drawn in this process
        # Particles, which of them are replaced, horizons: after a truncation whose meta-step is not applied yet.
        self._next: tuple[Particles, np.ndarray, np.ndarray] | None = None

    def particles(self, weights: Weights, meta_step: int) -> Particles:
        """The instances, drawn or restored now if they have not been; `meta_step` updates were made so far."""
        if self._particles is None and self._restored is not None:
            self._particles, self._restored = self._rebuilt(self._restored), None
        elif self._particles is None:
            self._first_at = meta_step
            self.horizon = self._horizons(meta_step, first=True)
            self._particles = self._start(weights, meta_step, self.horizon)
            self._drawn_at = np.full(self.instances, meta_step, np.int32)
        return self._particles

    def plan(self, particles: Particles, meta_step: int) -> tuple[int, tuple[int, ...]]:
        """Put aside what a truncation left that was made after `meta_step` updates.

        Returns:
            How many instances `advance` will replace; the horizons of those that start, be they the first or replace others.
        """
        finished = [(carry.step.numpy() >= self.horizon) | (carry.diverged.numpy() != RUNNING) for carry in particles.carries]
        replaced = np.any(finished, axis=0) | self.estimator.whole_horizon
        horizons = np.where(replaced, self._horizons(meta_step + 1), self.horizon)
        self._next = particles, replaced, horizons
        first = self.horizon.tolist() if self._first_at == meta_step else []
        return int(replaced.sum()), (*first, *horizons[replaced].tolist())

    def advance(self, weights: Weights, meta_step: int) -> None:
        """Go on from what was put aside; finished and diverged instances are drawn anew, after `meta_step` updates."""
        assert self._next is not None
        (particles, replaced, self.horizon), self._next = self._next, None
        if replaced.any():
            fresh, chosen = self._start(weights, meta_step, self.horizon), tf.constant(replaced)
            carries = tuple(select(chosen, new, old) for new, old in zip(fresh.carries, particles.carries, strict=True))
            particles = Particles(carries, tf.where(chosen[:, None], fresh.drift, particles.drift))
            self._drawn_at = np.where(replaced, np.int32(meta_step), self._drawn_at)
        self._particles = particles

    def snapshot(self, meta_step: int) -> dict[str, tf.Tensor]:
        """All that `restore` needs after `meta_step` updates; nothing before the first draw.

        It may be taken while the next update is estimated, which leaves all as it was, but for a first draw.
        """
        if (restored := self._restored) is not None:
            return dict(restored)
        if self._particles is None or self._first_at == meta_step:
            return {}
        leaves = {"horizon": tf.constant(self.horizon), "drawn_at": tf.constant(self._drawn_at), "drift": self._particles.drift}
        for index, carry in enumerate(self._particles.carries):
            for field, value in carry.without_task()._asdict().items():
                leaves |= under(f"{index}/{field}", value) if isinstance(value, dict) else {f"{index}/{field}": value}
        return leaves

    def fault(self, leaves: Mapping[str, tf.Tensor], meta_step: int) -> str | None:
        """What is wrong with a snapshot taken after `meta_step` updates, or None."""
        if not leaves:
            return None
        instances = self.instances
        whole, floats = (functools.partial(tf.TensorSpec, dtype=kind) for kind in (tf.int32, tf.float32))
        drift = self.estimator.layout.parameters if self.estimator.persistent else 0
        like = {"horizon": whole([instances]), "drawn_at": whole([instances]), "drift": floats([instances, drift])}
        carry = {"step": whole([instances]), "diverged": whole([instances]), "seed": whole([2]), "clock": whole([])}
        # The state and the initial loss of an instance that is about to diverge may be infinite.
        carry |= {"params": floats([instances, layout_of(self.problem).parameters]), "initial_loss": floats([instances])}
        for name, leaf in self.estimator.state_like.items():
            carry[f"state/{name}"] = tf.TensorSpec([leaf.shape[0], instances, leaf.shape[2]], leaf.dtype)
        if any("/memory/" in name for name in leaves):
            carry |= under("memory", draw(self.problem, self._seed, instances).memory)
        for index in range(2 if self.estimator.persistent else 1):
            like |= under(str(index), carry)
        found = mismatch(leaves, like, ("drift", "0/params", "1/params"))
        if found is None and not ((leaves["drawn_at"] >= 0) & (leaves["drawn_at"] <= meta_step)).numpy().all():
            found = f"leaf 'drawn_at' is not from 0 to {meta_step}"
        return found

    def restore(self, leaves: Mapping[str, tf.Tensor]) -> None:
        """Be what a snapshot was taken of."""
        self._particles, self._next, self._first_at, self._restored = None, None, -1, dict(leaves) or None
        if leaves:
            self.horizon, self._drawn_at = leaves["horizon"].numpy(), leaves["drawn_at"].numpy()

    def _rebuilt(self, leaves: Mapping[str, tf.Tensor]) -> Particles:
        """The particles of a snapshot, their tasks drawn again."""
        steps = np.unique(self._drawn_at).tolist()
        draws = {step: draw(self.problem, self._draw_seed(step), self.instances).task for step in steps}
        newest = next(reversed(draws.values()))
        rows = [draws[int(step)] for step in self._drawn_at]
        task = {name: tf.stack([row[name][index] for index, row in enumerate(rows)]) for name in newest}
        carries = []
        for index in range(2 if self.estimator.persistent else 1):
            own = within(str(index), leaves)
            fields = {name: leaf for name, leaf in own.items() if "/" not in name}
            carries.append(Carry(task=task, state=within("state", own), memory=within("memory", own), **fields))
        return Particles(tuple(carries), leaves["drift"])

    def _draw_seed(self, meta_step: int) -> int:
        return derive_seed(self._seed, _INSTANCES, meta_step)

    def _start(self, weights: Weights, meta_step: int, horizons: np.ndarray) -> Particles:
        """New instances, of which the share `informed` know their horizon."""
        rng = np.random.default_rng(derive_seed(self._seed, _INFORMED, meta_step))
        known = np.where(rng.uniform(size=self.instances) < self._informed, horizons, 0)
        return self.estimator.start(weights, self._draw_seed(meta_step), self.instances, known)

    def _horizons(self, meta_step: int, first: bool = False) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self._seed, _HORIZONS, meta_step))
        if first and self._shortest is not None and not self.estimator.whole_horizon:
            return horizons.first(self.lengths, rng, self.instances, meta_step, self._shortest)
        return horizons.draw(self.lengths, rng, self.instances, meta_step)
