"""What runs need of memory, estimated from a spec before anything is allocated, and which of its fields is too large.

An estimate counts what is largest: tasks, params with the optimizer's state, the carries that backpropagation keeps, losses.

Shape letters: I instances, P parameters of one instance, K steps of a truncation, W weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import resource
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem
from l2o_problems.transforms import SumOfProblems, layers

from l2o_cli import devices
from l2o_cli.errors import BadInput
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.packing import Layout

FLOAT = 4  # bytes
USUAL_STATE = 2.0  # numbers for each parameter, as Adam has
TRACED_FROM = 1 / 16  # of the memory: what may need more is looked at closely
MOST_TRACED = 300  # tensors of a problem that is, which takes seconds
LARGEST_TRACED = 1e15  # bytes; shapes of more than 2^63 entries make TensorFlow abort
ABSURD = 100  # times the memory
KEPT = 0.6  # of what a loss computes, which is there at once: 0.5 was measured for a transformer, 0.6 for a residual network
EXAMPLES = ("samples", "batch_size", "length", "delay")  # options of which an array has one axis at most
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Factor(NamedTuple):
    """A field that what is needed grows with."""

    field: str
    value: float
    usual: float


class Cost(NamedTuple):
    """Of one instance of a problem."""

    parameters: int
    task: float  # bytes that it keeps
    step: float  # bytes that one step passes through, its task included


@functools.cache
def machine_memory() -> int:
    """Bytes that runs may use: the GPU's, or those of the machine, or of the container or shell where these allow less."""
    of_gpu = devices.memory()
    if of_gpu is not None:
        return of_gpu
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(path).read_text()))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min([*limits, soft] if soft != resource.RLIM_INFINITY else limits)


def require_room(need: float, factors: Iterable[Factor]) -> None:
    """BadInput, naming the field that is largest beside what is usual, if so many bytes are more than there are."""
    memory = machine_memory()
    if need <= memory:
        return
    largest = max(factors, key=lambda factor: factor.value / max(factor.usual, 1.0))
    raise BadInput(
        f"{largest.field}: {largest.value:.10g} is too large: about {_gigabytes(need)} of memory would be needed, "
        f"and there are {_gigabytes(memory)}"
    )


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB"


def size_factors(problem: Problem, begin: str) -> Iterator[Factor]:
    """The whole numbers among the options of a problem and of the transformations around it; their names begin with `begin`."""
    problem, *transforms = layers(problem)
    for index, transform in enumerate(transforms):
        yield from _whole_numbers(transform, f"{begin}transforms.{index}.options.")
    if isinstance(problem, SumOfProblems):
        for index, part in enumerate(problem.problems):
            yield from size_factors(part, f"{begin}options.problems.{index}.")
    yield from _whole_numbers(problem, f"{begin}options.")


def _whole_numbers(problem: Problem, begin: str) -> Iterator[Factor]:
    if not dataclasses.is_dataclass(problem):
        return
    for field in dataclasses.fields(problem):
        value, usual = _largest(getattr(problem, field.name)), _largest(field.default)
        if value is not None:
            yield Factor(begin + field.name, value, usual or 1.0)


def _largest(value: Any) -> int | None:
    """The largest whole number in a value; None if it has none."""
    if isinstance(value, tuple) and value and all(isinstance(part, int) for part in value):
        return max(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def parameters_of(problem: Problem) -> int:
    """P, of any size; 0 of a problem of one's own whose shapes are none, which is said where it is run."""
    try:
        return sum(math.prod(map(int, shape)) for shape in problem.param_shapes.values())
    except Exception:
        return 0


def _cost(problem: Problem, instances: float, closely: bool = False) -> Cost:
    try:
        return cost_of(problem, instances, closely)
    except Exception:  # as above: of a problem of one's own that is not as it must be
        return Cost(0, 0.0, 0.0)


@functools.lru_cache(maxsize=1024)
def cost_of(problem: Problem, instances: float = 1, closely: bool = False) -> Cost:
    """What one instance needs, or a bound where so many that run together need little of the memory, unless `closely`."""
    parameters, innermost = parameters_of(problem), layers(problem)[0]
    # Tasks, batches and activations have an axis of examples, or of inputs, beside one that params have too.
    sizes = list(size_factors(problem, ""))
    widths = [factor.value for factor in sizes if factor.field.rpartition(".")[2] not in EXAMPLES]
    bound = 4 * FLOAT * (parameters + parameters_of(innermost) + sum(widths)) * max([1.0, *(factor.value for factor in sizes)])
    if not closely and bound * instances <= TRACED_FROM * machine_memory():
        return Cost(parameters, bound, bound)
    if bound <= LARGEST_TRACED and len(innermost.param_shapes) <= MOST_TRACED:
        try:
            return Cost(parameters, *_traced(problem))
        except Exception:
            # Sizes that no shape can have; or data that are not there, a fault of a problem of one's own: said when it is run.
            bound = bound if bound * instances > ABSURD * machine_memory() else 0.0
    return Cost(parameters, bound, bound)


def _traced(problem: Problem) -> tuple[float, float]:
    """Bytes of the task and of a step of one instance, from the shapes of what would be computed."""

    def begin() -> Any:
        seed = tf.zeros([2], tf.int32)
        task = problem.sample(seed, 1)
        params = problem.initial_params(seed, task)
        return task, params, problem.initial_memory(task, params)

    task, params, memory = tf.function(begin, autograph=False).get_concrete_function().structured_outputs
    specs = tf.nest.map_structure(lambda leaf: tf.TensorSpec(leaf.shape, leaf.dtype), (task, params))

    def step(task: Any, params: Any) -> Any:
        return problem.loss(params, task, problem.batch(tf.zeros([2], tf.int32), task, "train"))

    graph = tf.function(step, autograph=False).get_concrete_function(*specs).graph
    given = sum(_bytes(tensor) for tensor in graph.inputs)
    passed = sum(_bytes(output) for operation in graph.get_operations() for output in operation.outputs)
    passed = given + KEPT * (passed - given)
    return sum(map(_bytes, tf.nest.flatten((task, memory)))), passed


def _bytes(tensor: Any) -> float:
    if tensor.shape.rank is None or not tensor.dtype.size:
        return 0.0
    return float(math.prod(int(size or 1) for size in tensor.shape.as_list())) * tensor.dtype.size


@functools.cache
def state_size(optimizer: Optimizer) -> float:
    """Numbers that the optimizer keeps for each parameter."""
    layout = Layout.of({"x": (16, 16)})
    state = optimizer.init_state(optimizer.init_weights(0), layout, 1, 0)
    return sum(math.prod(np.shape(leaf)) for leaf in state.values()) / layout.parameters


class Runs(NamedTuple):
    """Runs of optimizers on one problem, a batch of them at a time."""

    problem: Problem
    begin: str  # of the names of its fields
    together: int  # in a batch
    steps: int
    number: int  # of all of them, whose losses are kept
    factors: Sequence[Factor] = ()  # besides the problem's own and the steps


def check_runs(runs: Iterable[Runs], state: float = USUAL_STATE) -> None:
    """BadInput, naming the field that is too large, if runs that are not differentiated would not fit in memory.

    Args:
        state: numbers that the optimizers keep for each parameter, see `state_size`.
    """
    losses = 0.0
    for one in runs:
        losses += 2 * FLOAT * one.number * one.steps
        batch = one.together * 3 * FLOAT * parameters_of(one.problem) * (1 + state)
        require_room(batch, size_factors(one.problem, one.begin))
        cost = _cost(one.problem, one.together)
        batch += one.together * (cost.task + cost.step)
        require_room(batch, size_factors(one.problem, one.begin))
        require_room(batch + losses, [Factor("steps", one.steps, 1000), *one.factors])


class Trained(NamedTuple):
    """A problem family that is meta-trained or validated on."""

    problem: Problem
    begin: str  # of the names of its fields
    instances: Factor
    length: Factor  # steps whose losses are kept
    differentiated: bool  # whether their carries are kept too, for the way back


def check_meta_training(
    families: Sequence[Trained], state: float, weights: int, copies: int, at_once: int, factors: Sequence[Factor]
) -> None:
    """BadInput, naming the field that is too large, if meta-training would not fit in memory.

    Args:
        state: numbers that the optimizer keeps for each parameter.
        weights: W.
        copies: of each instance that are carried, or perturbed at once.
        at_once: families whose truncations run at once.
        factors: fields that the number of copies depends on.
    """
    counts = [Factor("problems", len(families), 100), *factors]
    counts += [one.instances for one in families] + [one.length for one in families if one.differentiated]

    def needed(family: Trained, closely: bool) -> tuple[float, float]:
        """Bytes that are kept of a family, and those on the way through a truncation; BadInput if it alone has no room."""
        carry = FLOAT * parameters_of(family.problem) * (1 + state)
        instances, steps = family.instances.value, family.length.value
        own = instances * (carry + 3 * FLOAT * weights) * copies
        way = instances * ((3 + steps * family.differentiated) * carry + 2 * FLOAT * steps)
        named = [*size_factors(family.problem, family.begin), family.instances, family.length, *factors]
        require_room(own + way, named)
        cost = _cost(family.problem, instances, closely)
        own += instances * cost.task * copies
        way += instances * 2 * cost.step
        require_room(own + way, named)
        return own, way

    def together() -> float:
        return sum(own for own, _ in needs) + sum(sorted(way for _, way in needs)[-at_once:])

    needs = [needed(family, closely=False) for family in families]
    # Bounds of many families add up: the largest are looked at closely, until there is room.
    for index in sorted(range(len(families)), key=lambda index: -sum(needs[index])):
        if together() <= machine_memory():
            break
        needs[index] = needed(families[index], closely=True)
    require_room(together(), counts)
