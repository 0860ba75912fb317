"""The state of a run: all that it goes on from, which a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import tensorflow as tf
from l2o_problems.transforms.base import under, within

from l2o_cli.meta.checkpoints import mismatch
from l2o_cli.meta.families import Families
from l2o_cli.meta.meta_optimizer import FINITE, WeightsInTraining
from l2o_cli.meta.remote import RemoteFamilies
from l2o_cli.optimizers.base import Weights
from l2o_cli.spec import Rollback


class State:
    """The weights with their average and meta-optimizer, the populations, the best weights, and what was done so far.

    Args:
        rollback: when the run goes back to its best weights, with all that was known at that validation; None: never. Only
            then is this kept, which takes memory and room in checkpoints.
    """

    def __init__(self, weights: WeightsInTraining, families: Families | RemoteFamilies, rollback: Rollback | None):
        self.weights, self.families, self._rollback = weights, families, rollback
        self.meta_step = 0  # updates made
        self.inner_steps = 0
        self.seconds = 0.0
        self.best_score = math.inf
        self._best = weights.average
        self.rollbacks = 0  # times the run went back
        self._bad = 0  # validations in a row
        self._kept: dict[str, tf.Tensor] = {}  # a snapshot of `weights` at the best validation

    @property
    def best(self) -> Weights:
        """The averaged weights with the best score, or as they are before the first validation."""
        return self._best if self.best_score < math.inf else self.weights.average

    def judge(self, score: float) -> tuple[bool, bool]:
        """Keep the averaged weights if their `score` is the best so far, or go back to those when it is time to.

        Returns:
            Whether they are the best, whether the run went back.
        """
        rule = self._rollback
        if score < self.best_score:
            self.best_score, self._best = score, self.weights.average
            self._bad, self._kept = 0, self.weights.snapshot() if rule else {}
            return True, False
        if rule is None:
            return False, False
        bad = not score <= self.best_score + rule.margin  # a score that is not a number is bad
        self._bad = self._bad + 1 if bad else 0
        if self._bad < rule.patience or not self._kept:
            return False, False
        self.weights.restore(self._kept)
        # Instances that the weights given up have led somewhere tell little about those returned to.
        self.families.restore({})
        self._bad, self.rollbacks = 0, self.rollbacks + 1
        return False, True

    def capture(self) -> Callable[[], dict[str, tf.Tensor]]:
        """What gives all that `restore` needs to be as now; the next meta-step may be under way, as long as it is not applied."""
        leaves = self.weights.snapshot() | under("best", self.best)
        leaves["progress"] = tf.constant([self.meta_step, self.inner_steps, self.seconds, self.best_score], tf.float64)
        if self._rollback:
            leaves |= under("rollback/best", self._kept) | {"rollback/counts": tf.constant([self._bad, self.rollbacks])}
        families = self.families.capture(self.meta_step)
        return lambda: leaves | under("family", families())

    def fault(self, meta_step: int, leaves: Mapping[str, tf.Tensor]) -> str | None:
        """What is wrong with the leaves of a checkpoint after `meta_step`, which may be those of another run, or None."""
        own = {name: leaf for name, leaf in leaves.items() if not name.startswith(("rollback/", "family/"))}
        weights = self.weights.snapshot()
        like = weights | under("best", self.best) | {"progress": tf.TensorSpec([4], tf.float64)}
        found = mismatch(own, like, (*FINITE, "best/"))
        if found is None:
            step, inner_steps, seconds, best_score = progress = leaves["progress"].numpy()
            # The best score is infinite until there is one.
            if step != meta_step or not (0 <= inner_steps < math.inf and 0 <= seconds < math.inf) or math.isnan(best_score):
                found = f"leaf 'progress' is {', '.join(f'{value:.6g}' for value in progress)}"
        kept, like = within("rollback", leaves), {"counts": tf.TensorSpec([2], tf.int32)} if self._rollback else {}
        if self._rollback and any(name.startswith("best/") for name in kept):
            like |= under("best", weights)
        found = found or mismatch(kept, like, tuple(f"best/{name}" for name in FINITE))
        return found or self.families.fault(within("family", leaves), meta_step)

    def restore(self, leaves: Mapping[str, tf.Tensor]) -> None:
        """Be what a snapshot was taken of."""
        self.weights.restore(leaves)
        self._best = within("best", leaves)
        meta_step, inner_steps, self.seconds, self.best_score = (float(value) for value in leaves["progress"])
        self.meta_step, self.inner_steps = int(meta_step), int(inner_steps)
        if self._rollback:
            self._bad, self.rollbacks = (int(value) for value in leaves["rollback/counts"])
            self._kept = within("rollback/best", leaves)
        self.families.restore(within("family", leaves))
