"""The inner loop: problem x optimizer x steps. Meta-training differentiates it; evaluation, tuning and benchmarks run it.

Shape letters: I instances, P parameters of one instance, F features, N any per-instance axis.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_cli.optimizers.base import Optimizer, State, Weights
from l2o_cli.optimizers.packing import Layout, pack, unpack
from problems.base import Memory, Problem, Split, Task
from problems.random import as_seed, fold

RUNNING = -1  # the value of `Carry.diverged` while an instance runs

# Purposes for which seeds are folded, so that no two draws share one.
_TASK, _PARAMS, _STATE, _BATCH, _PERTURB, _DISPLACE = range(6)


class Carry(NamedTuple):
    """Everything a run is between two steps: a plain nest of tensors that can be saved, restored and sent."""

    params: tf.Tensor  # [I, P]
    state: State  # leaves [F, I, N]
    task: Task  # leaves [I, ...]
    memory: Memory  # leaves [I, ...], what the problem keeps from step to step
    step: tf.Tensor  # [I] int32, updates made so far
    initial_loss: tf.Tensor  # [I], the loss before the first update
    diverged: tf.Tensor  # [I] int32, the step at which the instance was frozen, RUNNING before
    seed: tf.Tensor  # [2] int32, from which minibatches and noise are drawn
    clock: tf.Tensor  # [] int32, steps since the seed was set, shared by all instances

    def without_task(self) -> Carry:
        """What a compiled function returns: the task does not change, and copying a large one out takes time."""
        return self._replace(task={})


def layout_of(problem: Problem) -> Layout:
    return Layout.of(problem.param_shapes)


@functools.cache
def _drawing(problem: Problem, instances: int) -> Callable[[tf.Tensor], tuple[Task, tf.Tensor, tf.Tensor, tf.Tensor]]:
    """The draw of `instances` problems as one graph: seed -> (task, params [I, P], seed of the state, seed of the batches)."""

    def draw(root: tf.Tensor) -> tuple[Task, tf.Tensor, tf.Tensor, tf.Tensor]:
        task = problem.sample(fold(root, _TASK), instances)
        params = pack(problem.initial_params(fold(root, _PARAMS), task), layout_of(problem))
        return task, params, fold(root, _STATE), fold(root, _BATCH)

    return tf.function(draw, autograph=False)


def draw_task(problem: Problem, seed: int, instances: int) -> Task:
    """The task that `start` draws with the same arguments."""
    return _drawing(problem, instances)(as_seed(seed))[0]


def start(problem: Problem, optimizer: Optimizer, weights: Weights, seed: int, instances: int) -> Carry:
    """Draw `instances` problems and put the optimizer at their start; a function of its arguments alone."""
    task, params, state_seed, batch_seed = _drawing(problem, instances)(as_seed(seed))
    state = optimizer.init_state(weights, layout_of(problem), instances, int(state_seed[0]) & 0x7FFFFFFF)
    return Carry(
        params=params,
        state={name: tf.convert_to_tensor(leaf, tf.float32) for name, leaf in state.items()},
        task=task,
        memory=problem.initial_memory(task, unpack(params, layout_of(problem))),
        step=tf.zeros([instances], tf.int32),
        initial_loss=tf.ones([instances]),
        diverged=tf.fill([instances], RUNNING),
        seed=batch_seed,
        clock=tf.zeros([], tf.int32),
    )


def _mask(condition: tf.Tensor, leaf: tf.Tensor, axis: int) -> tf.Tensor:
    shape = [1] * len(leaf.shape)
    shape[axis] = -1
    return tf.reshape(condition, shape)


def _instancewise(operation: Callable[..., tf.Tensor], *carries: Carry) -> Carry:
    """`operation(leaf, ..., axis)` on every leaf that has an instance axis; seed and clock are those of the last carry."""
    first, last = carries[0], carries[-1]
    fields: dict[str, Any] = {"seed": last.seed, "clock": last.clock}
    for name in Carry._fields:
        leaves = [getattr(carry, name) for carry in carries]
        if isinstance(leaves[0], dict):
            axis = 1 if name == "state" else 0
            fields[name] = {key: operation(*(leaf[key] for leaf in leaves), axis=axis) for key in leaves[0]}
        elif name not in fields:
            fields[name] = operation(*leaves, axis=0)
    return type(first)(**fields)


@tf.function(autograph=False)
def select(condition: tf.Tensor, new: Carry, old: Carry) -> Carry:
    """`new` for the instances where `condition` [I] is true, `old` (and its seed and clock) elsewhere."""
    return _instancewise(lambda a, b, axis: tf.where(_mask(condition, a, axis), a, b), new, old)


def concatenate(carries: Sequence[Carry]) -> Carry:
    """The instances of several carries in one; the seed and clock of the last."""
    return _instancewise(lambda *leaves, axis: tf.concat(leaves, axis), *carries)


def repeat(carry: Carry, times: int) -> Carry:
    """Each instance `times` times in a row: [a, b] -> [a, a, b, b]."""
    return _instancewise(lambda leaf, axis: tf.repeat(leaf, times, axis), carry)


def _all_finite(params: tf.Tensor) -> tf.Tensor:
    """Which rows of [I, P] have finite entries alone, [I]."""
    # A product with zeros is NaN where an entry is not finite: up to 7 times faster under XLA than a reduction of booleans.
    return tf.math.is_finite(tf.linalg.matvec(tf.stop_gradient(params), tf.zeros([params.shape[1]])))


def rollout(
    problem: Problem,
    optimizer: Optimizer,
    weights: Weights,
    carry: Carry,
    steps: tf.Tensor | int,
    *,
    maximum: int,
    second_derivatives: bool = True,
    divergence: float | None = None,
    update: Callable[..., tuple[tf.Tensor, State]] | None = None,
) -> tuple[Carry, tf.Tensor]:
    """`steps` inner steps of every instance; traceable, differentiable with respect to `weights`.

    An instance whose loss or parameters become non-finite, or whose loss exceeds `divergence` times the size of its initial
    loss, is frozen at its last good state; its losses from the next step on are NaN and `diverged` tells the step.

    Args:
        steps: at most `maximum`; a run-time value, so that one compilation serves all lengths.
        maximum: the constant bound that XLA needs to differentiate a loop.
        second_derivatives: whether meta-gradients flow through the inner gradient.
        divergence: multiple of |initial loss| above which an instance is frozen; None: only non-finite ones are.
        update: stands in for `optimizer.update` (a compiled twin, where the loop itself is not compiled).

    Returns:
        The new carry and the loss of each step before its update, [maximum, I]; rows from `steps` on are zero.
    """
    layout = layout_of(problem)
    update = update or optimizer.update
    instances = carry.params.shape[0]
    task, seed = carry.task, carry.seed
    state = optimizer.refresh_state(weights, carry.state, carry.step == 0)

    def body(index, losses, params, state, memory, step, initial_loss, diverged):
        now = fold(seed, carry.clock + index)
        batch = problem.batch(fold(now, _BATCH), task, "train")
        point = optimizer.evaluation_point(weights, state, params, layout)
        with tf.GradientTape() as tape:
            tape.watch(point)
            loss = problem.loss(unpack(point, layout), task, batch)
        gradients = tape.gradient(loss, point)
        if not second_derivatives:
            gradients = tf.stop_gradient(gradients)
        new_memory = memory
        if type(problem).perturb is not Problem.perturb:
            perturbed, new_memory = problem.perturb(fold(now, _PERTURB), task, unpack(gradients, layout), memory)
            gradients = pack(perturbed, layout)
        if optimizer.evaluates_elsewhere:
            loss = problem.loss(unpack(params, layout), task, batch)

        initial_loss = tf.where(step == 0, loss, initial_loss)
        running = diverged == RUNNING
        # Frozen instances take harmless steps, so that nothing non-finite enters the weights' gradient through them.
        safe_gradients = tf.where(running[:, None], gradients, 0.0)
        safe_loss = tf.where(running, loss, 1.0)
        new_params, new_state = update(weights, state, params, safe_gradients, safe_loss, step, layout)
        if type(problem).displace is not Problem.displace:
            before, after = unpack(params, layout), unpack(new_params, layout)
            new_params = pack(problem.displace(fold(now, _DISPLACE), task, before, after), layout)

        good = tf.math.is_finite(loss) & _all_finite(new_params)
        if divergence is not None:
            good &= loss <= divergence * tf.maximum(tf.abs(initial_loss), 1e-6)
        moving = running & good
        losses = losses.write(index, tf.where(running, loss, float("nan")))
        params = tf.where(moving[:, None], new_params, params)
        state = {name: tf.where(moving[None, :, None], new_state[name], leaf) for name, leaf in state.items()}
        memory = {name: tf.where(_mask(moving, leaf, 0), new_memory[name], leaf) for name, leaf in memory.items()}
        diverged = tf.where(running & ~good, step, diverged)
        step += tf.cast(moving, tf.int32)
        return index + 1, losses, params, state, memory, step, initial_loss, diverged

    losses = tf.TensorArray(tf.float32, size=maximum, element_shape=[instances])
    steps = tf.convert_to_tensor(steps, tf.int32)
    _, losses, params, state, memory, step, initial_loss, diverged = tf.while_loop(
        lambda index, *_: index < steps,
        body,
        (tf.constant(0), losses, carry.params, state, carry.memory, carry.step, carry.initial_loss, carry.diverged),
        maximum_iterations=maximum,
    )
    carry = Carry(params, state, task, memory, step, initial_loss, diverged, seed, carry.clock + steps)
    return carry, losses.stack()


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
        self.problem, self.optimizer, self.maximum, self.xla = problem, optimizer, maximum, xla
        update = compiled_update(optimizer) if xla and not problem.xla else None

        def run(weights: Weights, carry: Carry, steps: tf.Tensor) -> tuple[Carry, tf.Tensor]:
            after, losses = rollout(
                problem, optimizer, weights, carry, steps, maximum=maximum, divergence=divergence, update=update
            )
            return after.without_task(), losses

        def measure(carry: Carry, split: Split) -> tf.Tensor:
            batch = problem.batch(carry.seed, carry.task, split)
            return problem.loss(unpack(carry.params, layout_of(problem)), carry.task, batch)

        jit_compile = True if xla and problem.xla else None
        self._run = tf.function(run, jit_compile=jit_compile, autograph=False)
        self._measure = tf.function(measure, jit_compile=jit_compile, autograph=False)

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
        return self._measure(carry, split)
