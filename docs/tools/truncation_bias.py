"""Draws docs/truncation_bias.svg: what estimators make of a truncated run. Gradient descent on x^2 / 2 from x = 1."""

import pathlib

import matplotlib
import numpy as np
import tensorflow as tf
from l2o_problems.quadratics import Quadratic

from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.objectives import MeasuredObjective
from l2o_cli.optimizers import Sgd
from l2o_cli.spec import Estimator, Objective

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "truncation bias"
import matplotlib.pyplot as plt  # noqa: E402

RATE, HORIZON, SIGMA, INSTANCES = 0.02, 100, 0.001, 1000
TRUNCATIONS = (1, 2, 5, 10, 20, 50, 100)
STYLES = {"truncated_backpropagation": "o-", "es": "s--", "pes": "^-"}


class Parabola(Quadratic):
    """f(x) = x^2 / 2, always from x = 1."""

    def initial_params(self, seed, task):
        return {"x": tf.ones([task["w"].shape[0], 1])}

    def loss(self, params, task, batch):
        return tf.square(params["x"][:, 0]) / 2


def mean_loss(rate):
    return np.mean((1 - rate) ** (2 * np.arange(HORIZON)) / 2)


def estimates(name, truncation, repeats=20):
    """The mean meta-gradient over the truncations of a run, [repeats], each of INSTANCES samples."""
    problem, weights = Parabola(1), {"learning_rate": tf.constant(RATE)}
    objective = MeasuredObjective(Objective.model_validate({"scale": "loss"}), problem)
    spec = Estimator(name=name, sigma=SIGMA, divergence=None)
    estimator = ESTIMATORS[name](problem, Sgd(learning_rate=RATE), objective, spec, truncation)
    means = []
    for repeat in range(repeats):
        particles, parts = estimator.start(weights, 0, INSTANCES), []
        for part in range(HORIZON // truncation):
            result = estimator(weights, particles, tf.constant(truncation), 1000 * repeat + part)
            particles = result.particles
            parts.append(float(result.gradient[0]))
        means.append(np.mean(parts))
    return np.array(means)


def main():
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    exact = (mean_loss(RATE + 1e-6) - mean_loss(RATE - 1e-6)) / 2e-6
    axes.axhline(exact, color="gray", label="exact")
    for name, style in STYLES.items():
        samples = [estimates(name, truncation) for truncation in TRUNCATIONS]
        errors = [3 * sample.std(ddof=1) / len(sample) ** 0.5 for sample in samples]
        axes.errorbar(TRUNCATIONS, [sample.mean() for sample in samples], errors, fmt=style, label=name, capsize=3)
    axes.set_xscale("log", base=10)
    axes.set_xticks(TRUNCATIONS, [str(truncation) for truncation in TRUNCATIONS])
    axes.minorticks_off()
    axes.set_xlabel(f"truncation, of {HORIZON} inner steps")
    axes.set_ylabel("d mean loss / d learning rate")
    axes.legend()
    figure.savefig(pathlib.Path(__file__).parents[1] / "truncation_bias.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
