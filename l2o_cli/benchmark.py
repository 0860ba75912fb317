"""How fast the inner loop is on this machine: meta-training, evaluation, and one update against Adam's."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterable

import tensorflow as tf

from l2o_cli.meta.estimators import ESTIMATORS, MetaGradient, TruncatedBackpropagation
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers import Adam, HierarchicalRNN
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.optimizers.packing import Layout
from l2o_cli.rollout import Rollout
from l2o_cli.spec import Estimator, Objective
from problems.base import Problem
from problems.images import ImageMlp
from problems.quadratics import Quadratic

DIMENSION, INSTANCES, STEPS = 20, 16, 50
UPDATE_SIZES = (100_000, 1_000_000)
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
    figures["update_milliseconds"], figures["update_cost_in_adams"] = {}, {}
    for size in UPDATE_SIZES:
        tell(f"timing one update of {size:,} parameters")
        learned, _ = _first_call(_update(optimizer, weights, size))
        adam, _ = _first_call(_update(Adam(), tensors(Adam().init_weights(0)), size))
        seconds, seconds_adam = _medians([learned, adam])
        figures["update_milliseconds"][str(size)] = 1e3 * seconds
        figures["update_cost_in_adams"][str(size)] = seconds / seconds_adam
    figures["peak_memory_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


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
            calls[name] = _first_call(_estimate(estimator, weights))
        for (name, (_, first)), seconds in zip(calls.items(), _medians([call for call, _ in calls.values()]), strict=True):
            rate = INSTANCES * TRUNCATION / seconds
            rows.append({"problem": title, "estimator": name, "inner_steps_per_second": rate, "compile_seconds": first})
    return rows


def _estimate(estimator: MetaGradient, weights: Weights) -> Callable[[], tf.Tensor]:
    particles = estimator.start(weights, 0, INSTANCES)
    return lambda: estimator(weights, particles, tf.constant(TRUNCATION), 0).norm


def tensors(weights) -> Weights:
    return {name: tf.constant(value) for name, value in weights.items()}


def _meta_training(optimizer: Optimizer, weights: Weights, instances: int, xla: bool) -> Callable[[], tf.Tensor]:
    problem = Quadratic(DIMENSION)
    objective = MeasuredObjective(Objective(), problem)
    estimate = TruncatedBackpropagation(problem, optimizer, objective, Estimator(), STEPS, xla)
    particles = estimate.start(weights, 0, instances)
    return lambda: estimate(weights, particles, tf.constant(STEPS), 0).norm


def _evaluation(optimizer: Optimizer, weights: Weights, instances: int, xla: bool) -> Callable[[], tf.Tensor]:
    rollout = Rollout(Quadratic(DIMENSION), optimizer, maximum=STEPS, xla=xla)
    carry = rollout.start(weights, 0, instances)
    return lambda: rollout(weights, carry, STEPS)[1]


def _update(optimizer: Optimizer, weights: Weights, size: int) -> Callable[[], tf.Tensor]:
    """One compiled update of `size` parameters in four tensors, as of a two-layer network."""
    large = size // 10 * 9
    layout = Layout.of({"kernel": (large - 100,), "bias": (100,), "kernel2": (size - large - 10,), "bias2": (10,)})
    state = tensors(optimizer.init_state(weights, layout, 1, 0))
    params = tf.random.stateless_normal([1, size], [0, 0])
    gradients = tf.random.stateless_normal([1, size], [0, 1])
    update = tf.function(optimizer.update, jit_compile=True, autograph=False)
    loss, step = tf.ones([1]), tf.ones([1], tf.int32)

    def once() -> tf.Tensor:
        new_params, _ = update(weights, state, params, gradients, loss, step, layout)
        return new_params[0, 0]

    return once


def _first_call(call: Callable[[], tf.Tensor]) -> tuple[Callable[[], tf.Tensor], float]:
    """The call, made once, and how long that took: tracing and compilation."""
    return call, _seconds(call)


def _seconds(call: Callable[[], tf.Tensor]) -> float:
    began = time.perf_counter()
    call().numpy()
    return time.perf_counter() - began


def _medians(calls: Iterable[Callable[[], tf.Tensor]]) -> list[float]:
    rounds = [[_seconds(call) for call in calls] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]
