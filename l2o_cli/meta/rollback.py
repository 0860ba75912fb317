"""Going back to the best weights when meta-training has left them for good."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from l2o_cli.meta.checkpoints import mismatch
from l2o_cli.meta.meta_optimizer import FINITE, WeightsInTraining
from l2o_cli.spec import Rollback


class Rollbacks:
    """Counts bad validations and keeps the weights, their average and the meta-optimizer's state as they were at the best one.

    The state is kept, and takes memory and room in checkpoints, only where the spec asks for rollbacks.
    """

    def __init__(self, spec: Rollback | None):
        self._spec = spec
        self._bad = 0  # validations in a row
        self._best: dict[str, tf.Tensor] = {}
        self.count = 0  # times the run went back

    def validated(self, weights: WeightsInTraining, score: float, best_score: float) -> bool:
        """Take in the score of the averaged weights; whether `weights` were set back.

        Args:
            best_score: the least of those before.
        """
        if self._spec is None:
            return False
        if score < best_score:
            self._bad, self._best = 0, weights.snapshot()
            return False
        bad = not score <= best_score + self._spec.margin  # a score that is not a number is bad
        self._bad = self._bad + 1 if bad else 0
        if self._bad < self._spec.patience or not self._best:
            return False
        weights.restore(self._best)
        self._bad, self.count = 0, self.count + 1
        return True

    def snapshot(self) -> dict[str, tf.Tensor]:
        """All that `restore` needs."""
        if self._spec is None:
            return {}
        return {f"best/{path}": leaf for path, leaf in self._best.items()} | {"counts": tf.constant([self._bad, self.count])}

    def fault(self, leaves: Mapping[str, tf.Tensor], weights: WeightsInTraining) -> str | None:
        """What is wrong with a snapshot, of a run of `weights`, or None."""
        like = {} if self._spec is None else {"counts": tf.TensorSpec([2], tf.int32)}
        if any(name.startswith("best/") for name in leaves):
            like |= {f"best/{name}": leaf for name, leaf in weights.snapshot().items()} if like else {}
        return mismatch(leaves, like, tuple(f"best/{name}" for name in FINITE))

    def restore(self, leaves: Mapping[str, tf.Tensor]) -> None:
        """Be what a snapshot was taken of."""
        if self._spec is None:
            return
        self._bad, self.count = (int(value) for value in leaves["counts"])
        self._best = {path.removeprefix("best/"): leaf for path, leaf in leaves.items() if path.startswith("best/")}
