"""The inner loop: problem x optimizer x steps. Meta-training differentiates it; evaluation, tuning and benchmarks run it.

Shape letters: I instances, P parameters of one instance, F features, N any per-instance axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from l2o_problems.base import Problem, Split, Task
from l2o_problems.examples import validation_minibatch
from l2o_problems.random import fold

from l2o_cli import devices
from l2o_cli.carry import BATCH, DISPLACE, MEASURE, PERTURB, RUNNING, VALIDATE, Carry, layout_of, mask, start
from l2o_cli.graph import Graph
from l2o_cli.optimizers.base import Optimizer, State, Weights
from l2o_cli.optimizers.packing import pack, unpack


def _all_finite(params: tf.Tensor) -> tf.Tensor:
    """Which rows of [I, P] have finite entries alone, [I]."""
    # A product with zeros is NaN where an entry is not finite: up to 7 times faster under XLA than a reduction of booleans.
    return tf.math.is_finite(tf.linalg.matvec(tf.stop_gradient(params), tf.zeros([params.shape[1]])))


class Stepping(NamedTuple):
    """What is run, and how: all that an inner step depends on besides the weights and the carry."""

    problem: Problem
    optimizer: Optimizer
    second_derivatives: bool = True  # whether meta-gradients flow through the inner gradient
    divergence: float | None = None  # multiple of |initial loss| above which an instance is frozen; None: only non-finite ones
    update: Callable[..., tuple[tf.Tensor, State]] | None = None  # stands in for `optimizer.update`: a compiled twin
    measure: Callable[[tf.Tensor, Task, tf.Tensor], tf.Tensor] | None = None  # (params, task, seed) -> [M, I], at every step
    measured: int = 0  # M

    def __call__(self, weights: Weights, carry: Carry) -> tuple[Carry, tf.Tensor]:
        """One inner step of every instance: the new carry, and the losses before the update with what is measured, [1 + M, I].

        An instance whose loss or parameters become non-finite, or whose loss exceeds `divergence` times the size of its
        initial loss, is frozen at its last good state; its losses from the next step on are NaN and `diverged` tells the step.
        """
        problem, optimizer = self.problem, self.optimizer
        layout, task, now = layout_of(problem), carry.task, fold(carry.seed, carry.clock)
        params, state, step = carry.params, carry.state, carry.step
        batch = problem.batch(fold(now, BATCH), task, "train")
        # Unpacked outside the tape: the derivative of each tensor's slice would be padded to the length of all of them.
        point = unpack(optimizer.evaluation_point(weights, state, params, layout), layout)
        with tf.GradientTape() as tape:
            tape.watch(point)
            loss = problem.loss(point, task, batch)
        slopes = tape.gradient(loss, point, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = pack({name: tf.convert_to_tensor(slope) for name, slope in slopes.items()}, layout)
        if not self.second_derivatives:
            gradients = tf.stop_gradient(gradients)
        memory = carry.memory
        if type(problem).perturb is not Problem.perturb:
            perturbed, memory = problem.perturb(fold(now, PERTURB), task, unpack(gradients, layout), memory)
            gradients = pack(perturbed, layout)
        if optimizer.evaluates_elsewhere:
            loss = problem.loss(unpack(params, layout), task, batch)

        initial_loss = tf.where(step == 0, loss, carry.initial_loss)
        running = carry.diverged == RUNNING
        # Frozen instances take harmless steps, so that nothing non-finite enters the weights' gradient through them.
        safe_gradients = tf.where(running[:, None], gradients, 0.0)
        seen_loss = loss
        if optimizer.reads_validation_loss:
            validation_loss = loss
            if problem.held_out:
                held_out = validation_minibatch(problem, fold(now, VALIDATE), task, batch)
                validation_loss = problem.loss(unpack(params, layout), task, held_out)
            seen_loss = tf.stack([loss, validation_loss])
        safe_loss = tf.where(running, seen_loss, 1.0)
        update = self.update or optimizer.update
        new_params, new_state = update(weights, state, params, safe_gradients, safe_loss, step, layout)
        if type(problem).displace is not Problem.displace:
            ends = unpack(params, layout), unpack(new_params, layout)
            new_params = pack(problem.displace(fold(now, DISPLACE), task, *ends), layout)

        good = tf.math.is_finite(loss) & _all_finite(new_params)
        if self.divergence is not None:
            good &= loss <= self.divergence * tf.maximum(tf.abs(initial_loss), 1e-6)
        moving = running & good
        after: Carry = carry._replace(
            params=tf.where(moving[:, None], new_params, params),
            state={name: tf.where(moving[None, :, None], new_state[name], leaf) for name, leaf in state.items()},
            memory={name: tf.where(mask(moving, leaf, 0), memory[name], leaf) for name, leaf in carry.memory.items()},
            step=step + tf.cast(moving, tf.int32),
            initial_loss=initial_loss,
            diverged=tf.where(running & ~good, step, carry.diverged),
            clock=carry.clock + 1,
        )
        row = loss[None]
        if self.measure is not None:
            row = tf.concat([row, self.measure(params, task, fold(now, MEASURE))], axis=0)
        return after, tf.where(running, row, float("nan"))


def rollout(stepping: Stepping, weights: Weights, carry: Carry, steps: tf.Tensor | int, maximum: int) -> tuple[Carry, tf.Tensor]:
    """`steps` inner steps of every instance; traceable.

    Args:
        steps: at most `maximum`; a run-time value, so that one compilation serves all lengths.
        maximum: a constant bound, which XLA needs.

    Returns:
        The new carry and for each step the loss before its update and what was measured, [maximum, 1 + M, I]; zero from
        `steps` on.
    """

    def body(index, losses, moving):
        after, loss = stepping(weights, moving._replace(task=carry.task))
        return index + 1, losses.write(index, loss), after.without_task()

    losses = tf.TensorArray(tf.float32, size=maximum, element_shape=[1 + stepping.measured, *carry.step.shape])
    begin = (tf.constant(0), losses, _refreshed(stepping.optimizer, weights, carry).without_task())
    _, losses, after = _loop(body, begin, steps, maximum)
    return after._replace(task=carry.task), losses.stack()


def _refreshed(optimizer: Optimizer, weights: Weights, carry: Carry) -> Carry:
    """The carry with what is learned of the initial state read from the weights."""
    return carry._replace(state=optimizer.refresh_state(weights, carry.state, carry.step == 0))


def _loop(body: Callable[..., tuple], begin: tuple, steps: tf.Tensor | int, maximum: int) -> tuple:
    steps = tf.convert_to_tensor(steps, tf.int32)
    return tf.while_loop(lambda index, *_: index < steps, body, begin, maximum_iterations=maximum)


class Differentiated(NamedTuple):
    """What backpropagation through a rollout gives."""

    gradient: Weights  # of the sum of the values, in the shapes of the weights
    values: tf.Tensor  # [I]
    carry: Carry


def backpropagation(
    stepping: Stepping,
    weights: Weights,
    carry: Carry,
    steps: tf.Tensor | int,
    maximum: int,
    objective: Callable[[tf.Tensor, Carry], tf.Tensor],
) -> Differentiated:
    """`rollout`, and the gradient of an objective of its losses with respect to the weights; traceable.

    Only the carries are stored on the way; each step is made again on the way back, which on a CPU costs less than storing
    all that its derivative needs, and much less memory.

    Args:
        weights: any leaf may have the instance axis in front; so has its gradient then.
        objective: (losses [maximum, 1 + M, I] as `rollout` gives them, carry after the last step) -> [I].
    """
    optimizer, task = stepping.optimizer, carry.task
    with tf.GradientTape(watch_accessed_variables=False) as begin_tape:
        begin_tape.watch(weights)
        refreshed = _refreshed(optimizer, weights, carry).without_task()

    leaves = tf.nest.flatten(refreshed)
    losses = tf.TensorArray(tf.float32, size=maximum, element_shape=[1 + stepping.measured, *carry.step.shape])
    kept = [tf.TensorArray(leaf.dtype, size=maximum, element_shape=leaf.shape) for leaf in leaves]

    def forth(index, losses, kept, moving):
        kept = [array.write(index, leaf) for array, leaf in zip(kept, tf.nest.flatten(moving), strict=True)]
        after, loss = stepping(weights, moving._replace(task=task))
        return index + 1, losses.write(index, loss), kept, after.without_task()

    _, losses, kept, after = _loop(forth, (tf.constant(0), losses, kept, refreshed), steps, maximum)
    losses = losses.stack()

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch((losses, after))
        values = objective(losses, after._replace(task=task))
    moved = _differentiable(after)
    loss_slopes, slopes = tape.gradient(values, (losses, moved), unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def back(left, gradient, slopes):
        at = left - 1  # the loop's own: if it read `steps`, XLA would compile a problem with a loop inside for each length
        moving = tf.nest.pack_sequence_as(refreshed, [array.read(at) for array in kept])
        before = _differentiable(moving)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch((weights, before))
            after, loss = stepping(weights, moving._replace(task=task))
        share, slopes = tape.gradient(
            [_differentiable(after), loss],
            [weights, before],
            [slopes, tf.gather(loss_slopes, at)],  # a slice would make XLA compile for each length
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return at, tf.nest.map_structure(tf.add, gradient, share), slopes

    gradient = tf.nest.map_structure(tf.zeros_like, weights)
    begin = (tf.convert_to_tensor(steps, tf.int32), gradient, slopes)
    _, gradient, slopes = tf.while_loop(lambda left, *_: left > 0, back, begin, maximum_iterations=maximum)
    learned = begin_tape.gradient(refreshed.state, weights, slopes["state"], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    gradient = tf.nest.map_structure(tf.add, gradient, learned)
    return Differentiated(gradient, values, after._replace(task=task))


def _differentiable(carry: Carry) -> dict[str, Any]:
    """The leaves that a meta-gradient flows through."""
    memory = {name: leaf for name, leaf in carry.memory.items() if leaf.dtype.is_floating}
    return {"params": carry.params, "state": carry.state, "memory": memory, "initial_loss": carry.initial_loss}


def compiled_update(optimizer: Optimizer) -> Callable[..., tuple[tf.Tensor, State]]:
    """`optimizer.update` compiled alone, for a loop that is not (its layout is static)."""

    @tf.function(jit_compile=True)
    def update(weights, state, params, gradients, loss, step, layout):
        return optimizer.update(weights, state, params, gradients, loss, step, layout)

    return update


class Rollout:
    """`rollout` compiled once for a pair of problem and optimizer, for runs that are not differentiated.

    With `xla` the whole loop is one XLA computation; if the problem is faster outside XLA, only the update is compiled.
    Without it everything is an ordinary TensorFlow graph.
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        *,
        maximum: int,
        divergence: float | None = None,
        xla: bool = True,
    ):
        self.problem, self.optimizer, self.maximum = problem, optimizer, maximum
        self._whole = xla and devices.compiles(problem)
        update = compiled_update(optimizer) if xla and not self._whole else None
        stepping = Stepping(problem, optimizer, divergence=divergence, update=update)

        def run(weights: Weights, carry: Carry, steps: tf.Tensor) -> tuple[Carry, tf.Tensor]:
            after, losses = rollout(stepping, weights, carry, steps, maximum)
            return after.without_task(), losses[:, 0]

        self._run = Graph(run, f"rollout {optimizer} {problem.structure}", self._whole)
        self._measure: dict[Split, Graph] = {}

    def start(self, weights: Weights, seed: int, instances: int) -> Carry:
        return start(self.problem, self.optimizer, weights, seed, instances)

    def __call__(self, weights: Weights, carry: Carry, steps: int) -> tuple[Carry, tf.Tensor]:
        """`steps` (at most `maximum`) inner steps: the new carry and the losses, [steps, I]."""
        if steps > self.maximum:
            raise ValueError(f"steps is {steps}, but this rollout was compiled for at most {self.maximum}")
        after, losses = self._run(weights, carry, tf.constant(steps, tf.int32))
        return after._replace(task=carry.task), losses[:steps]

    def held_out_loss(self, carry: Carry, split: Split = "validation") -> tf.Tensor:
        """The loss of each instance on the whole of `split`, [I]."""
        if split not in self._measure:
            problem = self.problem

            def measure(carry: Carry) -> tf.Tensor:
                batch = problem.batch(carry.seed, carry.task, split)
                return problem.loss(unpack(carry.params, layout_of(problem)), carry.task, batch)

            self._measure[split] = Graph(measure, f"loss on {split} of {problem.structure}", self._whole)
        return self._measure[split](carry)
