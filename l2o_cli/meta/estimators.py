"""Estimators of the meta-gradient: pure functions of the weights, what is carried, the number of steps and a seed.

Shape letters: I instances, W all weights packed, N samples of the meta-gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf

from l2o_cli.meta.meta_gradient import MetaGradient, Particles, finite, global_norm, summary_of
from l2o_cli.meta.truncation import unpacked
from l2o_cli.spec import Estimator

VARIANCE_FLOOR = 1e-8  # added to variances before they are inverted (Metz et al. 2019)


class TruncatedBackpropagation(MetaGradient):
    """The derivative of the truncation's objective.

    Biased: the influence of the weights on the carried state is not counted (Wichrowska et al. 2017, section 4).
    """

    @staticmethod
    def summarize(layout, spec, slope, values):
        return summary_of(slope[None] / values.shape[0], values, {})

    def _run(self, truncation, weights, particles, steps, seed):
        slope, values, after = truncation.derive(self._packed(weights), particles.carries[0], steps)
        return (slope, values), Particles((after,), particles.drift)


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
        return summary_of(samples, tf.stack([*plus, *minus]), diagnostics)

    def _run(self, truncation, weights, particles, steps, seed):
        results, (_, after, _) = self._pairs(truncation.run, weights, particles.carries[0], steps, seed, columns=[0])
        return results, Particles((after,), particles.drift)


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
        return summary_of(samples, tf.stack([plus, minus]), diagnostics)

    def _run(self, truncation, weights, particles, steps, seed):
        halves = self._halves(truncation.run, weights, seed, particles.carries, steps)
        (plus, after, _), (minus, after_minus, _), noise = halves
        drift = particles.drift + noise
        return (drift, plus, minus), Particles((after, after_minus), drift)


class Reparameterization(MetaGradient):
    """The mean of the derivatives at w + e and w - e: the derivative of the same expectation that ES estimates."""

    diagnostics: ClassVar[tuple[str, ...]] = ("variance_reparameterization",)

    @staticmethod
    def summarize(layout, spec, noise, plus, minus, values_plus, values_minus):
        samples = _slopes(plus, minus, values_plus[0].shape[0])
        return summary_of(
            samples, tf.stack([*values_plus, *values_minus]), {"variance_reparameterization": _mean_variance(samples)}
        )

    def _run(self, truncation, weights, particles, steps, seed):
        results, (_, _, after) = self._pairs(truncation.derive, weights, particles.carries[0], steps, seed, columns=[0, 1])
        return results, Particles((after,), particles.drift)


class Combined(Reparameterization):
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
        es, nonfinite_es = finite(tf.concat(differences, axis=0))
        slopes, nonfinite = finite(_slopes(plus, minus, values_plus[0].shape[0]))
        gradient, share = inverse_variance_mean(es, slopes)
        diagnostics = {
            "variance_es": _mean_variance(es),
            "variance_reparameterization": _mean_variance(slopes),
            "share_es": tf.reduce_mean(share),
        }
        for name, part in unpacked(share, layout).items():
            diagnostics[f"share_es/{name}"] = tf.reduce_mean(part)
        meta_loss = tf.reduce_mean(tf.stack([*values_plus, *values_minus]))
        return gradient, meta_loss, global_norm(gradient), nonfinite_es + nonfinite, diagnostics


ESTIMATORS: dict[str, type[MetaGradient]] = {
    "truncated_backpropagation": TruncatedBackpropagation,
    "es": EvolutionStrategies,
    "full_es": FullEvolutionStrategies,
    "pes": PersistentEvolutionStrategies,
    "reparameterization": Reparameterization,
    "combined": Combined,
}


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
