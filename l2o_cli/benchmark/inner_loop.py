"""How fast the inner loop is on this machine: meta-training, evaluation, and one update against Adam's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem
from l2o_problems.images import ImageMlp
from l2o_problems.quadratics import Quadratic

from l2o_cli import devices
from l2o_cli.meta.estimators import ESTIMATORS, TruncatedBackpropagation
from l2o_cli.meta.meta_gradient import MetaGradient
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers import OPTIMIZERS, Adam, HierarchicalRNN
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.optimizers.packing import Layout
from l2o_cli.rollout import Rollout
from l2o_cli.runs.update_rules import seconds_of
from l2o_cli.spec import Estimator, Objective

DIMENSION, INSTANCES, STEPS = 20, 16, 50
UPDATE_SIZES = (10_000, 100_000, 1_000_000)
REPEATS = 7

# What `measure_estimators` measures: truncations of 20 steps of 16 instances.
ESTIMATOR_PROBLEMS: dict[str, Problem] = {
    "quadratic 20": Quadratic(20),
    "quadratic 100": Quadratic(100),
    "MLP 64-32-10, batch 128": ImageMlp(data="digits", hidden=(32,), batch_size=128),
}
TRUNCATION = 20


def measure(tell: Callable[[str], None] = lambda line: None) -> dict:
    """All figures, by name; rates are medians, in inner steps (one update of one instance) per second."""
    figures: dict = {"problem": f"quadratic {DIMENSION}, {STEPS} steps"}
    optimizer = HierarchicalRNN()
    weights = tensors(optimizer.init_weights(0))
    for kind, prepare in (("meta", _meta_training), ("evaluation", _evaluation)):
        tell(f"timing {kind} inner steps")
        fast, figures[f"{kind}_compile_seconds"] = _first_call(prepare(optimizer, weights, INSTANCES, xla=True))
        plain, _ = _first_call(prepare(optimizer, weights, 1, xla=False))
        # In turn, so that a change of the machine's speed touches both.
        seconds, seconds_plain = _medians([fast, plain])
        figures[f"{kind}_inner_steps_per_second"] = INSTANCES * STEPS / seconds
        figures[f"{kind}_inner_steps_per_second_plain"] = STEPS / seconds_plain
    rate, plain_rate = figures["meta_inner_steps_per_second"], figures["meta_inner_steps_per_second_plain"]
    figures["xla_speedup"] = rate / plain_rate
    costs = update_costs(optimizer, weights, UPDATE_SIZES, tell)
    figures["update_milliseconds"] = {str(cost.parameters): cost.milliseconds for cost in costs}
    figures["update_cost_in_adams"] = {str(cost.parameters): cost.adams for cost in costs}
    figures["peak_memory_megabytes"] = devices.peak_memory() / 2**20
    return figures


class UpdateCost(NamedTuple):
    """What one update costs on this machine."""

    parameters: int
    milliseconds: float
    adams: float  # as a multiple of Adam's


def update_costs(
    optimizer: Optimizer, weights: Weights, sizes: Iterable[int], tell: Callable[[str], None] = lambda line: None
) -> list[UpdateCost]:
    """One compiled update of about so many parameters, those of a two-layer network; Adam's is timed in turn with it."""
    costs = []
    for size in sizes:
        layout = network_layout(size)
        tell(f"timing one update of {layout.parameters:,} parameters")
        own, _ = _first_call(_update(optimizer, weights, layout))
        adam, _ = _first_call(_update(Adam(), tensors(Adam().init_weights(0)), layout))
        seconds, seconds_adam = _medians([own, adam])
        costs.append(UpdateCost(layout.parameters, 1e3 * seconds, seconds / seconds_adam))
    return costs


def network_layout(size: int) -> Layout:
    """Two layers, the first with nine tenths of about `size` parameters: 10 n^2 in all, for the nearest n."""
    units = round(math.sqrt(size / 10))
    return Layout.of({"kernel": (9 * units, units), "bias": (units,), "kernel2": (units, units - 2), "bias2": (units,)})


def measure_optimizers(tell: Callable[[str], None] = lambda line: None) -> list[dict]:
    """For every update rule, with its defaults, what an update costs, and its bytes of state for each parameter."""
    rows = []
    for name, cls in OPTIMIZERS.items():
        tell(name)
        optimizer = cls()
        weights = tensors(optimizer.init_weights(0))
        costs = [cost._asdict() for cost in update_costs(optimizer, weights, UPDATE_SIZES, tell)]
        rows.append({"optimizer": name, "state_bytes_per_parameter": state_bytes(optimizer, weights), "update": costs})
    return rows


def state_bytes(optimizer: Optimizer, weights: Weights) -> float:
    """What the state takes for each parameter of a two-layer network of a million."""
    layout = network_layout(UPDATE_SIZES[-1])
    state = optimizer.init_state(weights, layout, 1, 0)
    return sum(np.asarray(leaf).nbytes for leaf in state.values()) / layout.parameters


def measure_estimators(tell: Callable[[str], None] = lambda line: None) -> list[dict]:
    """A row for each problem and estimator: inner steps per second, the median of several truncations, and first call.

    Estimators that run both halves of an antithetic pair run two trajectories of an instance and are credited with one.
    """
    optimizer = HierarchicalRNN()
    weights = tensors(optimizer.init_weights(0))
    rows = []
    for title, problem in ESTIMATOR_PROBLEMS.items():
        calls = {}
        for name, kind in ESTIMATORS.items():
            if kind.whole_horizon:  # the same computation as es
                continue
            tell(f"timing {name} on {title}")
            objective = MeasuredObjective(Objective(), problem)
            # As in meta-training with one family for each meta-step.
            estimator = kind(problem, optimizer, objective, Estimator(name=name), TRUNCATION, parallel=True)
            calls[name] = _first_call(_estimate(estimator, weights, INSTANCES, TRUNCATION))
        for (name, (_, first)), seconds in zip(calls.items(), _medians([call for call, _ in calls.values()]), strict=True):
            rate = INSTANCES * TRUNCATION / seconds
            rows.append({"problem": title, "estimator": name, "inner_steps_per_second": rate, "compile_seconds": first})
    return rows


def _estimate(estimator: MetaGradient, weights: Weights, instances: int, steps: int) -> Callable[[], tf.Tensor]:
    particles = estimator.start(weights, 0, instances)
    return lambda: estimator(weights, particles, tf.constant(steps), 0).norm


def tensors(weights) -> Weights:
    return {name: tf.constant(value) for name, value in weights.items()}


def _meta_training(optimizer: Optimizer, weights: Weights, instances: int, xla: bool) -> Callable[[], tf.Tensor]:
    problem = Quadratic(DIMENSION)
    objective = MeasuredObjective(Objective(), problem)
    estimator = TruncatedBackpropagation(problem, optimizer, objective, Estimator(), STEPS, xla)
    return _estimate(estimator, weights, instances, STEPS)


def _evaluation(optimizer: Optimizer, weights: Weights, instances: int, xla: bool) -> Callable[[], tf.Tensor]:
    rollout = Rollout(Quadratic(DIMENSION), optimizer, maximum=STEPS, xla=xla)
    carry = rollout.start(weights, 0, instances)
    return lambda: rollout(weights, carry, STEPS)[1]


def _update(optimizer: Optimizer, weights: Weights, layout: Layout) -> Callable[[], tf.Tensor]:
    state = {name: tf.convert_to_tensor(leaf) for name, leaf in optimizer.init_state(weights, layout, 1, 0).items()}
    params = tf.random.stateless_normal([1, layout.parameters], [0, 0])
    gradients = tf.random.stateless_normal([1, layout.parameters], [0, 1])
    update = tf.function(optimizer.update, jit_compile=True, autograph=False)
    loss, step = tf.ones([2, 1] if optimizer.reads_validation_loss else [1]), tf.ones([1], tf.int32)

    def once() -> tf.Tensor:
        new_params, _ = update(weights, state, params, gradients, loss, step, layout)
        return new_params[0, 0]

    return once


def _first_call(call: Callable[[], tf.Tensor]) -> tuple[Callable[[], tf.Tensor], float]:
    """The call, made once, and how long that took: tracing and compilation."""
    return call, seconds_of(call)


def _medians(calls: Iterable[Callable[[], tf.Tensor]]) -> list[float]:
    rounds = [[seconds_of(call) for call in calls] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]
