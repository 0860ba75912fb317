"""The instances of one problem family that are being meta-trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem, Task

from l2o_cli.carry import RUNNING, Carry, draw, draw_task, layout_of, select
from l2o_cli.meta import horizons
from l2o_cli.meta.checkpoints import mismatch
from l2o_cli.meta.meta_gradient import MetaGradient, Particles
from l2o_cli.optimizers.base import Weights
from l2o_cli.spec import Lengths


def derive_seed(seed: int, *path: int) -> int:
    """A seed for one purpose within a run, the same whenever and wherever it is asked for."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0] & 0x7FFFFFFF)


# Purposes for which seeds are derived from a population's seed.
_INSTANCES, _HORIZONS, _TOLD = range(3)


class Population:
    """Particles and horizons; instances at the end of their horizon, or diverged, are replaced between truncations.

    The instances are drawn when they are first asked for. Each remembers the meta-step at which it was drawn, from which
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
        told: float = 1.0,
    ):
        """Args:
        lengths: of the horizons.
        shortest: the first instances end after a random part of their horizon, of at least so many steps; None: after all
            of it.
        told: the share of the instances whose optimizer is told their horizon.
        """
        self.problem, self.estimator, self.lengths, self.instances = problem, estimator, lengths, instances
        self._seed, self._shortest, self._told = seed, shortest, told
        self._particles: Particles | None = None
        self._drawn_at = np.zeros(instances, np.int32)  # meta-steps
        self.horizon = np.zeros(instances, np.int32)  # steps, one per instance
        self._restored: Mapping[str, tf.Tensor] | None = None
        self._begun: list[int] = []
        self._first_at = -1  # the meta-step at which all were first drawn in this process

    def particles(self, weights: Weights, meta_step: int) -> Particles:
        """The instances, drawn or restored now if they have not been; `meta_step` updates were made so far."""
        if self._particles is None and self._restored is not None:
            self._particles, self._restored = self._rebuilt(self._restored), None
        elif self._particles is None:
            self._first_at = meta_step
            self.horizon = self._horizons(meta_step, first=True)
            self._particles = self._start(weights, meta_step, self.horizon)
            self._drawn_at = np.full(self.instances, meta_step, np.int32)
            self._begun += self.horizon.tolist()
        return self._particles

    def advance(self, particles: Particles, weights: Weights, meta_step: int) -> int:
        """Take over what a truncation left and draw finished and diverged instances anew; how many they were."""
        finished = np.any([_finished(carry, self.horizon) for carry in particles.carries], axis=0)
        finished |= self.estimator.whole_horizon
        count = int(finished.sum())
        if count:
            horizons = self._horizons(meta_step)
            particles = _select(tf.constant(finished), self._start(weights, meta_step, horizons), particles)
            self._drawn_at = np.where(finished, np.int32(meta_step), self._drawn_at)
            self.horizon = np.where(finished, horizons, self.horizon)
            self._begun += self.horizon[finished].tolist()
        self._particles = particles
        return count

    def begun(self) -> list[int]:
        """The horizons of the instances that were drawn since this was last asked, in steps."""
        begun, self._begun = self._begun, []
        return begun

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
            leaves |= {f"{index}/{path}": leaf for path, leaf in _named_leaves(carry.without_task()).items()}
        return leaves

    def fault(self, leaves: Mapping[str, tf.Tensor], meta_step: int) -> str | None:
        """What is wrong with a snapshot taken after `meta_step` updates, or None."""
        if not leaves:
            return None
        floats, whole, instances = tf.float32, tf.int32, self.instances
        drift = self.estimator.layout.parameters if self.estimator.persistent else 0
        like = {
            "horizon": tf.TensorSpec([instances], whole),
            "drawn_at": tf.TensorSpec([instances], whole),
            "drift": tf.TensorSpec([instances, drift], floats),
        }
        # The state and the initial loss of an instance that is about to diverge may be infinite.
        carry = {
            "params": tf.TensorSpec([instances, layout_of(self.problem).parameters], floats),
            "step": tf.TensorSpec([instances], whole),
            "initial_loss": tf.TensorSpec([instances], floats),
            "diverged": tf.TensorSpec([instances], whole),
            "seed": tf.TensorSpec([2], whole),
            "clock": tf.TensorSpec([], whole),
        }
        for name, leaf in self.estimator.state_like.items():
            carry[f"state/{name}"] = tf.TensorSpec([leaf.shape[0], instances, leaf.shape[2]], leaf.dtype)
        if any("/memory/" in name for name in leaves):
            carry |= {f"memory/{name}": leaf for name, leaf in draw(self.problem, self._seed, instances).memory.items()}
        for index in range(2 if self.estimator.persistent else 1):
            like |= {f"{index}/{name}": leaf for name, leaf in carry.items()}
        found = mismatch(leaves, like, ("drift", "0/params", "1/params"))
        if found is None and not ((leaves["drawn_at"] >= 0) & (leaves["drawn_at"] <= meta_step)).numpy().all():
            found = f"leaf 'drawn_at' is not from 0 to {meta_step}"
        return found

    def restore(self, leaves: Mapping[str, tf.Tensor]) -> None:
        """Be what a snapshot was taken of."""
        self._particles, self._restored = None, dict(leaves) or None
        if leaves:
            self.horizon, self._drawn_at = leaves["horizon"].numpy(), leaves["drawn_at"].numpy()

    def _rebuilt(self, leaves: Mapping[str, tf.Tensor]) -> Particles:
        """The particles of a snapshot, their tasks drawn again."""
        draws = {int(step): self._task(int(step)) for step in np.unique(self._drawn_at)}
        newest = next(reversed(draws.values()))
        rows = [draws[int(step)] for step in self._drawn_at]
        task = {name: tf.stack([row[name][index] for index, row in enumerate(rows)]) for name in newest}
        carries: dict[int, dict] = {}
        for path, leaf in leaves.items():
            index, _, rest = path.partition("/")
            if not rest:
                continue
            fields = carries.setdefault(int(index), {"task": task, "state": {}, "memory": {}})
            field, _, key = rest.partition("/")
            if key:
                fields[field][key] = leaf
            else:
                fields[field] = leaf
        return Particles(tuple(Carry(**carries[index]) for index in sorted(carries)), leaves["drift"])

    def _draw_seed(self, meta_step: int) -> int:
        return derive_seed(self._seed, _INSTANCES, meta_step)

    def _start(self, weights: Weights, meta_step: int, horizons: np.ndarray) -> Particles:
        """New instances, of which the share `told` know their horizon."""
        rng = np.random.default_rng(derive_seed(self._seed, _TOLD, meta_step))
        known = np.where(rng.uniform(size=self.instances) < self._told, horizons, 0)
        return self.estimator.start(weights, self._draw_seed(meta_step), self.instances, known)

    def _task(self, meta_step: int) -> Task:
        return draw_task(self.problem, self._draw_seed(meta_step), self.instances)

    def _horizons(self, meta_step: int, first: bool = False) -> np.ndarray:
        rng = np.random.default_rng(derive_seed(self._seed, _HORIZONS, meta_step))
        if first and self._shortest is not None and not self.estimator.whole_horizon:
            return horizons.first(self.lengths, rng, self.instances, meta_step, self._shortest)
        return horizons.draw(self.lengths, rng, self.instances, meta_step)


def _finished(carry: Carry, horizon: np.ndarray) -> np.ndarray:
    return (carry.step.numpy() >= horizon) | (carry.diverged.numpy() != RUNNING)


def _select(condition: tf.Tensor, new: Particles, old: Particles) -> Particles:
    """`new` for the instances where `condition` [I] is true, `old` elsewhere."""
    carries = tuple(select(condition, fresh, kept) for fresh, kept in zip(new.carries, old.carries, strict=True))
    return Particles(carries, tf.where(condition[:, None], new.drift, old.drift))


def _named_leaves(carry: Carry) -> dict[str, tf.Tensor]:
    """The leaves of a carry by path: "params", "state/hidden", ..."""
    leaves: dict[str, tf.Tensor] = {}
    for field, value in carry._asdict().items():
        leaves |= {f"{field}/{key}": leaf for key, leaf in value.items()} if isinstance(value, dict) else {field: value}
    return leaves
