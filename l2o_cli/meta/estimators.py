"""Estimators of the meta-gradient: pure functions of the weights, what is carried, the number of steps and a seed.

Shape letters: I instances, W all weights packed, N samples of the meta-gradient.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_cli.graph import Graph
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.meta.truncation import Truncation, packed, unpacked, weights_layout
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.optimizers.packing import Layout
from l2o_cli.rollout import RUNNING, Carry, start
from l2o_cli.spec import Estimator
from problems.base import Problem

VARIANCE_FLOOR = 1e-8  # added to variances before they are inverted (Metz et al. 2019)


class Particles(NamedTuple):
    """What the instances of a family carry from truncation to truncation."""

    carries: tuple[Carry, ...]  # one; for persistent ES those of the positive and the negative perturbations
    drift: tf.Tensor  # [I, W], for persistent ES each instance's perturbations added up since its start; else [I, 0]


class Estimate(NamedTuple):
    """What one truncation of one problem family tells."""

    gradient: tf.Tensor  # [W], non-finite entries set to 0
    particles: Particles  # after the truncation
    meta_loss: tf.Tensor  # [], the objective over the truncation
    norm: tf.Tensor  # [], of the gradient
    nonfinite: tf.Tensor  # [] int32, entries of the gradient that were not finite
    diverged: int  # instances frozen so far and not yet reset
    diagnostics: dict[str, tf.Tensor]  # [] each; which there are depends on the estimator alone


def global_norm(vector: tf.Tensor) -> tf.Tensor:
    """The Euclidean norm over the last axis, [...], finite whenever the entries are."""
    largest = tf.maximum(tf.reduce_max(tf.abs(vector), axis=-1, keepdims=True), 1e-30)
    norm = largest[..., 0] * tf.sqrt(tf.reduce_sum(tf.square(vector / largest), axis=-1))
    return tf.minimum(norm, norm.dtype.max)  # of entries near the greatest float the norm is beyond it


class MetaGradient(abc.ABC):
    """An estimator for one problem family: (weights, particles, steps, seed) -> Estimate."""

    persistent = False  # whether both halves of a pair are carried on
    whole_horizon = False  # whether it runs every instance from its start to its horizon
    diagnostics: ClassVar[tuple[str, ...]] = ()  # the names of those that are one number for a truncation

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        objective: MeasuredObjective,
        spec: Estimator,
        maximum: int,
        xla: bool = True,
        parallel: bool = False,
    ):
        """Args:
        maximum: the bound on the steps of a truncation, where a call names no lower one.
        parallel: run the halves of antithetic pairs in two threads.
        """
        self._problem, self._optimizer, self._spec = problem, optimizer, spec
        self.layout = weights_layout(optimizer.init_weights(0))
        self._maximum = maximum
        self._truncation = functools.cache(lambda bound: Truncation(problem, optimizer, self.layout, objective, spec, bound, xla))
        self._pool = ThreadPoolExecutor(2) if parallel else None
        self._packed = _packing(self.layout, xla)
        self._perturbed = _perturbing(self.layout, spec.shared, xla)
        self._summarize = _summarizing(type(self), self.layout, spec, xla)

    def start(self, weights: Weights, seed: int, instances: int) -> Particles:
        """Instances at their start; a function of the arguments alone."""
        carry = start(self._problem, self._optimizer, weights, seed, instances)
        drift = tf.zeros([instances, self.layout.parameters if self.persistent else 0])
        return Particles((carry, carry) if self.persistent else (carry,), drift)

    @abc.abstractmethod
    def __call__(self, weights: Weights, particles: Particles, steps: tf.Tensor, seed: int, bound: int | None = None) -> Estimate:
        """The estimate of one truncation.

        Args:
            steps: at most `bound`.
            seed: the perturbations are drawn with it.
            bound: what the truncation is compiled for, by default the greatest there is.
        """

    @staticmethod
    @abc.abstractmethod
    def summarize(layout: Layout, spec: Estimator, *results: Any) -> _Summary:
        """What the results of a call's truncations say; traced once for all families."""

    def _halves(self, function: Callable, weights: Weights, seed: int, carries: Sequence[Carry], steps: tf.Tensor) -> list:
        """A function of `Truncation` at w + e from the first carry and at w - e from the last; and e, [I, W] or shared [1, W]."""
        rows = 1 if self._spec.shared else carries[0].step.shape[0]
        # Drawn by numpy, which does it in a third of XLA's time.
        noise = np.random.default_rng(seed).standard_normal((rows, self.layout.parameters), np.float32)
        noise = tf.constant(np.float32(self._spec.sigma) * noise)
        plus, minus = self._perturbed(weights, noise)
        mapping = self._pool.map if self._pool is not None else map
        return [*mapping(lambda vector, carry: function(vector, carry, steps), (plus, minus), (carries[0], carries[-1])), noise]

    def _pairs(self, function: Callable, weights: Weights, carry: Carry, steps: tf.Tensor, seed: int) -> list:
        """For each pair what `_halves` gives."""
        seeds = [int(np.random.SeedSequence([seed, pair]).generate_state(1)[0]) for pair in range(self._spec.pairs)]
        return [self._halves(function, weights, own, (carry,), steps) for own in seeds]


class _Summary(NamedTuple):
    """What an estimator makes of its samples."""

    gradient: tf.Tensor  # [W]
    meta_loss: tf.Tensor  # []
    norm: tf.Tensor  # []
    nonfinite: tf.Tensor  # [] int32
    diagnostics: dict[str, tf.Tensor]


def _summary(samples: tf.Tensor, values: tf.Tensor, diagnostics: dict[str, tf.Tensor]) -> _Summary:
    """The mean of samples [N, W] of the meta-gradient, of the objectives `values`; entries not finite are set to 0."""
    samples, nonfinite = _finite(samples)
    gradient = tf.reduce_mean(samples, axis=0)
    return _Summary(gradient, tf.reduce_mean(values), global_norm(gradient), nonfinite, diagnostics)


def _finite(samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The samples, entries that are not finite set to 0, and how many they are."""
    finite = tf.math.is_finite(samples)
    return tf.where(finite, samples, 0.0), tf.reduce_sum(tf.cast(~finite, tf.int32))


def _estimate(summary: _Summary, particles: Particles) -> Estimate:
    gone = np.any([carry.diverged.numpy() != RUNNING for carry in particles.carries], axis=0)
    return Estimate(particles=particles, diverged=int(gone.sum()), **summary._asdict())


class TruncatedBackpropagation(MetaGradient):
    """The derivative of the truncation's objective.

    Biased: the influence of the weights on the carried state is not counted (Wichrowska et al. 2017, section 4).
    """

    @staticmethod
    def summarize(layout, spec, slope, values):
        return _summary(slope[None] / values.shape[0], values, {})

    def __call__(self, weights, particles, steps, seed, bound=None):
        truncation = self._truncation(bound or self._maximum)
        slope, values, after = truncation.derive(self._packed(weights), particles.carries[0], steps)
        return _estimate(self._summarize(slope, values), Particles((after,), particles.drift))


class EvolutionStrategies(MetaGradient):
    """Antithetic ES: the mean over instances and pairs of (L(w + e) - L(w - e)) e / (2 sigma^2), e ~ N(0, sigma^2).

    The half w + e is carried on, whose weights are as likely as those of the other half.
    """

    diagnostics = ("difference", "variance_es")

    @staticmethod
    def summarize(layout, spec, noise, plus, minus):
        differences = [first - second for first, second in zip(plus, minus, strict=True)]
        shares = [_factors(spec, row)[:, None] * own for row, own in zip(differences, noise, strict=True)]
        samples = tf.concat(shares, axis=0)  # [pairs I, W]
        diagnostics = {"difference": _root_mean_square(tf.stack(differences)), "variance_es": _mean_variance(samples)}
        return _summary(samples, tf.stack([*plus, *minus]), diagnostics)

    def __call__(self, weights, particles, steps, seed, bound=None):
        truncation = self._truncation(bound or self._maximum)
        pairs = self._pairs(truncation.run, weights, particles.carries[0], steps, seed)
        plus, minus, noise = zip(*pairs, strict=True)
        summary = self._summarize(noise, [half[0] for half in plus], [half[0] for half in minus])
        return _estimate(summary, Particles((plus[-1][1],), particles.drift))


class FullEvolutionStrategies(EvolutionStrategies):
    """ES over whole runs: unbiased for the objective of a run, at the price of one estimate for each."""

    whole_horizon = True


class PersistentEvolutionStrategies(MetaGradient):
    """PES (Vicol et al. 2021): (L+ - L-) times the sum of all perturbations since the instance's start, / (2 sigma^2).

    Both halves are carried on, so that the influence of earlier perturbations on the states is counted: unbiased for the
    objective of whole runs, though each estimate is of a truncation.
    """

    persistent = True
    diagnostics = ("difference", "variance_pes", "drift")

    @staticmethod
    def summarize(layout, spec, drift, plus, minus):
        samples = _factors(spec, plus - minus)[:, None] * drift
        diagnostics = {
            "difference": _root_mean_square(plus - minus),
            "variance_pes": _mean_variance(samples),
            "drift": _root_mean_square(drift) / spec.sigma,
        }
        return _summary(samples, tf.stack([plus, minus]), diagnostics)

    def __call__(self, weights, particles, steps, seed, bound=None):
        truncation = self._truncation(bound or self._maximum)
        halves = self._halves(truncation.run, weights, seed, particles.carries, steps)
        (plus, after, _), (minus, after_minus, _), noise = halves
        drift = particles.drift + noise
        return _estimate(self._summarize(drift, plus, minus), Particles((after, after_minus), drift))


class Reparameterization(MetaGradient):
    """The mean of the derivatives at w + e and w - e: the derivative of the same expectation that ES estimates."""

    diagnostics = ("variance_reparameterization",)

    @staticmethod
    def summarize(layout, spec, plus, minus, values):
        samples = _slopes(plus, minus, values[0].shape[0])
        return _summary(samples, tf.stack(values), {"variance_reparameterization": _mean_variance(samples)})

    def __call__(self, weights, particles, steps, seed, bound=None):
        truncation = self._truncation(bound or self._maximum)
        pairs = self._pairs(truncation.derive, weights, particles.carries[0], steps, seed)
        plus, minus, _ = zip(*pairs, strict=True)
        values = [half[1] for half in (*plus, *minus)]
        summary = self._summarize([half[0] for half in plus], [half[0] for half in minus], values)
        return _estimate(summary, Particles((plus[-1][2],), particles.drift))


class Combined(MetaGradient):
    """ES and reparameterization from the same pairs, weighted for each weight by their inverse variances (Metz et al. 2019).

    The variances are over the perturbations of a family: over its instances and pairs, or over its pairs where the
    instances share them.
    """

    diagnostics = ("variance_es", "variance_reparameterization", "share_es")

    @staticmethod
    def summarize(layout, spec, noise, plus, minus, values_plus, values_minus):
        differences = []
        for own, first, second in zip(noise, values_plus, values_minus, strict=True):
            difference = _factors(spec, first - second)[:, None] * own
            # Instances that share a perturbation are one sample.
            differences.append(tf.reduce_mean(difference, axis=0, keepdims=True) if own.shape[0] == 1 else difference)
        es, nonfinite_es = _finite(tf.concat(differences, axis=0))
        slopes, nonfinite = _finite(_slopes(plus, minus, values_plus[0].shape[0]))
        gradient, share = inverse_variance_mean(es, slopes)
        diagnostics = {
            "variance_es": _mean_variance(es),
            "variance_reparameterization": _mean_variance(slopes),
            "share_es": tf.reduce_mean(share),
        }
        for name, part in unpacked(share, layout).items():
            diagnostics[f"share_es/{name}"] = tf.reduce_mean(part)
        meta_loss = tf.reduce_mean(tf.stack([*values_plus, *values_minus]))
        return _Summary(gradient, meta_loss, global_norm(gradient), nonfinite_es + nonfinite, diagnostics)

    def __call__(self, weights, particles, steps, seed, bound=None):
        truncation = self._truncation(bound or self._maximum)
        pairs = self._pairs(truncation.derive, weights, particles.carries[0], steps, seed)
        plus, minus, noise = zip(*pairs, strict=True)
        columns = [[half[column] for half in halves] for column in (0, 1) for halves in (plus, minus)]
        return _estimate(self._summarize(noise, *columns), Particles((plus[-1][2],), particles.drift))


ESTIMATORS: dict[str, type[MetaGradient]] = {
    "truncated_backpropagation": TruncatedBackpropagation,
    "es": EvolutionStrategies,
    "full_es": FullEvolutionStrategies,
    "pes": PersistentEvolutionStrategies,
    "reparameterization": Reparameterization,
    "combined": Combined,
}


# Graphs that all families share: of each there is one in a process.


@functools.cache
def _packing(layout: Layout, xla: bool) -> Graph:
    """weights -> [W]."""
    return Graph(lambda weights: packed(weights, layout), "packed weights", xla)


@functools.cache
def _perturbing(layout: Layout, shared: bool, xla: bool) -> Graph:
    """(weights, e [I or 1, W]) -> w + e, w - e, like e, or [W] where the instances share it."""

    def perturbed(weights: Weights, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        vector = packed(weights, layout)
        plus, minus = vector + noise, vector - noise
        return (plus[0], minus[0]) if shared else (plus, minus)

    return Graph(perturbed, "perturbed weights", xla)


@functools.cache
def _summarizing(kind: type[MetaGradient], layout: Layout, spec: Estimator, xla: bool) -> Graph:
    return Graph(functools.partial(kind.summarize, layout, spec), f"{kind.__name__} {spec}", xla)


def inverse_variance_mean(first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The means of two sets of samples [N, W], combined for each column by their inverse variances; the share of the first."""
    inverse_first, inverse_second = (1 / (_variance(samples) + VARIANCE_FLOOR) for samples in (first, second))
    share = inverse_first / (inverse_first + inverse_second)
    return share * tf.reduce_mean(first, axis=0) + (1 - share) * tf.reduce_mean(second, axis=0), share


def _variance(samples: tf.Tensor) -> tf.Tensor:
    """The unbiased variance over the rows of [N, W]."""
    deviations = samples - tf.reduce_mean(samples, axis=0)
    return tf.reduce_sum(tf.square(deviations), axis=0) / max(samples.shape[0] - 1, 1)


def _mean_variance(samples: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(_variance(samples))


def _root_mean_square(values: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_mean(tf.square(values)))


def _factors(spec: Estimator, differences: tf.Tensor) -> tf.Tensor:
    """What multiplies the perturbations, [I], for the differences L(w + e) - L(w - e), [I]."""
    if spec.difference == "sign":
        differences = tf.sign(differences)
    elif spec.difference == "normalized":
        differences /= _root_mean_square(differences) + 1e-30
    return differences / (2 * spec.sigma**2)


def _slopes(plus: Sequence[tf.Tensor], minus: Sequence[tf.Tensor], instances: int) -> tf.Tensor:
    """The mean derivative of each antithetic pair: of each instance [pairs I, W], or [pairs, W] where weights are shared."""
    slopes = [(first + second) / 2 for first, second in zip(plus, minus, strict=True)]
    if slopes[0].shape.rank == 1:
        return tf.stack(slopes) / instances
    return tf.concat(slopes, axis=0)
