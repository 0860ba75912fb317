"""What meta-training minimizes, as a function of the losses of a truncation.

Shape letters: K the constant bound on the steps of a truncation, I instances, M outer measurements.
"""

from __future__ import annotations

import math

import tensorflow as tf
from l2o_problems.adam_table import AdamRow, Reference
from l2o_problems.base import Batch, Problem, Split, Task
from l2o_problems.random import fold, integers, normal

from l2o_cli.carry import Carry, layout_of
from l2o_cli.errors import BadInput
from l2o_cli.optimizers.imitation import DISTANCE
from l2o_cli.optimizers.packing import unpack
from l2o_cli.spec import Objective, Term

DIVERGED = 10.0  # the objective of a step that a diverged instance did not make, e^10 times its initial loss
ADAM_RANGE = 2.0  # losses normalized by those of tuned Adam stay within +- this (TaskSet)

_FINAL = 1 << 20  # folded into the seed of what is measured after the last step


def _signed_log(loss: tf.Tensor, epsilon: float) -> tf.Tensor:
    """log((loss + epsilon) / epsilon), continued to negative values as an odd function: increasing everywhere."""
    return tf.sign(loss) * tf.math.log1p(tf.abs(loss) / epsilon)


def scaled(term: Term, losses: tf.Tensor, initial_loss: tf.Tensor, bound: tf.Tensor, adam: AdamRow | None) -> tf.Tensor:
    """The losses as the term measures them.

    `log` and `ratio` take the distance of the losses from the problem's lower bound. Should it be negative, because that
    bound is not one, the logarithm is continued as an odd function and the ratio is what it is. Where a loss is not finite
    the result is NaN and its gradient zero.

    Args:
        losses: [K, I] or [I].
        initial_loss, bound: [I].
        adam: what tuned Adam reaches on the problem, for the scale of that name.
    """
    finite = tf.math.is_finite(losses)
    # A second `where`: the gradient of the branch not taken must be finite too.
    distance = tf.where(finite, losses, 1.0 + bound) - bound
    start = initial_loss - bound
    if term.scale == "log":
        values = _signed_log(distance, term.epsilon) - _signed_log(start, term.epsilon)
    elif term.scale == "ratio":
        values = (distance + term.epsilon) / (tf.abs(start) + term.epsilon)
    elif term.scale == "adam":
        assert adam is not None
        values = (distance + bound - adam.best_loss) / (adam.initial_loss - adam.best_loss)
        values = tf.clip_by_value(values, -ADAM_RANGE, ADAM_RANGE)
    else:
        values = distance + bound
    if term.cap is not None:
        values = tf.minimum(values, term.cap)
    return tf.where(finite, values, float("nan"))


def worst(term: Term) -> float:
    """What a step counts that was not made, because the instance had diverged."""
    if term.cap is not None:
        return term.cap
    return {"log": DIVERGED, "adam": ADAM_RANGE}.get(term.scale, math.exp(DIVERGED))


class MeasuredObjective:
    """An objective on one problem.

    Raises:
        BadInput: a term is normalized by tuned Adam and the problem cannot be.
    """

    def __init__(self, objective: Objective, problem: Problem, adam: Reference | None = None, title: str | None = None):
        self._terms, self._problem, self._adam = objective.terms, problem, adam.row if adam else None
        self._imitation = objective.imitation.weight if objective.imitation is not None else 0.0
        if any(term.scale == "adam" for term in self._terms) and (adam is None or adam.why):
            why = adam.why if adam else "no reference is given"
            raise BadInput(f"objective: scale adam has no reference for {title or problem.name!r}: {why}")
        # Those that look at other data at every step.
        self._outer = [term for term in self._terms if term.on != "training" and term.of != "final"]

    @property
    def measurements(self) -> int:
        """M, how many outer losses are wanted at every step."""
        return len(self._outer)

    def reset(self, carry: Carry) -> Carry:
        """The carry at the beginning of a truncation: what this objective adds up in the state is at zero."""
        if not self._imitation:
            return carry
        return carry._replace(state={**carry.state, DISTANCE: tf.zeros_like(carry.state[DISTANCE])})

    def measure(self, params: tf.Tensor, task: Task, seed: tf.Tensor) -> tf.Tensor:
        """The outer losses at `params` [I, P] that are wanted at every step, [M, I]."""
        return tf.stack([self._outer_loss(term, params, task, fold(seed, index)) for index, term in enumerate(self._outer)])

    def __call__(self, losses: tf.Tensor, after: Carry, steps: tf.Tensor, count_diverged: bool = False) -> tf.Tensor:
        """The objective of each instance over the first `steps` steps, [I].

        Args:
            losses: [K, 1 + M, I], of the inner minibatches before each update, and what `measure` gave there.
            after: the carry after the last step.
            count_diverged: a step that a diverged instance did not make counts as the worst; else it is left out.
        """
        bound = self._problem.lower_bound(after.task)
        total = tf.zeros_like(after.initial_loss)
        if self._imitation:
            total += self._imitation * after.state[DISTANCE][0, :, 0] / tf.cast(steps, tf.float32)
        training, *outer = tf.unstack(losses, axis=1)
        columns = iter(outer)
        for index, term in enumerate(self._terms):
            if term.of == "final" and term.on != "training":
                seed = fold(fold(after.seed, after.clock), _FINAL + index)
                values = self._outer_loss(term, after.params, after.task, seed)[None]
                made = tf.ones([1, 1], tf.bool)
            else:
                values = training if term.on == "training" else next(columns)
                row = tf.range(values.shape[0])[:, None]
                made = (row == steps - 1) if term.of == "final" else (row < steps)
            values = scaled(term, values, after.initial_loss, bound, self._adam)
            total += term.weight * _over_steps(term, values, made, count_diverged)
        return total

    def _outer_loss(self, term: Term, params: tf.Tensor, task: Task, seed: tf.Tensor) -> tf.Tensor:
        problem = self._problem
        split: Split = "validation" if term.on == "validation" else "train"
        losses = []
        for index in range(term.batches):
            now = fold(seed, index)
            batch = problem.batch(fold(now, 0), task, split)
            if split == "validation" and term.batch_size is not None:
                batch = resample(batch, fold(now, 1), term.batch_size)
            batch = disturbed(batch, fold(now, 2), term.noise, term.shift)
            losses.append(problem.loss(unpack(params, layout_of(problem)), task, batch))
        return tf.add_n(losses) / term.batches


def _over_steps(term: Term, values: tf.Tensor, made: tf.Tensor, count_diverged: bool) -> tf.Tensor:
    """The statistic of a term over the steps that are `made` [K, 1], of values [K, I] that are NaN where there is none: [I]."""
    missing = ~tf.math.is_finite(values)
    if count_diverged:
        limit = worst(term)
        values, missing = tf.where(missing, limit, tf.minimum(values, limit)), tf.zeros_like(missing)
    counted = made & ~missing
    if term.of == "minimum":
        least = tf.reduce_min(tf.where(counted, values, float("inf")), axis=0)
        return tf.where(tf.reduce_any(counted, axis=0), least, 0.0)
    total = tf.reduce_sum(tf.where(counted, values, 0.0), axis=0)
    return total / tf.maximum(tf.reduce_sum(tf.cast(counted, tf.float32), axis=0), 1.0)


def resample(batch: Batch, seed: tf.Tensor, size: int) -> Batch:
    """`size` examples of a batch whose leaves are [I or 1, B, ...], drawn with replacement; all where there are no more."""
    examples = {leaf.shape[1] for leaf in batch.values() if leaf.shape.rank > 1}
    if len(examples) != 1 or max(examples) <= size:
        return batch
    index = integers(seed, [size], examples.pop())
    return {name: tf.gather(leaf, index, axis=1) if leaf.shape.rank > 1 else leaf for name, leaf in batch.items()}


def disturbed(batch: Batch, seed: tf.Tensor, noise: float, shift: float) -> Batch:
    """The batch with normal noise and a constant added to its real-valued inputs; as it is where it has none."""
    if not noise and not shift:
        return batch

    def disturb(leaf: tf.Tensor) -> tf.Tensor:
        return leaf + shift + (normal(seed, leaf.shape, noise) if noise else 0.0)

    inputs = [name for name, leaf in batch.items() if name.split("/")[-1] == "inputs" and leaf.dtype.is_floating]
    return batch | {name: disturb(batch[name]) for name in inputs}
