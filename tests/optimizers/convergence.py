"""Whether meta-training makes an optimizer better than its own start: shared by the tests of learned optimizers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from l2o_problems.quadratics import Quadratic

from l2o_cli.meta.trainer import Trainer
from l2o_cli.optimizers.base import Optimizer, Weights
from l2o_cli.rollout import Rollout
from l2o_cli.spec import MetaTraining

EVALUATION_SEED, EVALUATION_INSTANCES = 1234, 64


class MetaTrained(NamedTuple):
    """The mean losses of an optimizer after a number of steps, on quadratics that were not meta-trained on."""

    before: float  # with its initial weights
    after: float  # with its meta-trained weights
    meta_steps: int  # made
    seconds: float  # of meta-training

    @property
    def ratio(self) -> float:
        """Less than 1: it became better."""
        return self.after / self.before


def meta_trained_ratio(optimizer: str, options: Mapping[str, Any] | None = None, **settings: Any) -> float:
    """`meta_trained(...).ratio`: mean loss after meta-training, as a share of the mean loss before."""
    return meta_trained(optimizer, options, **settings).ratio


def meta_trained(
    optimizer: str,
    options: Mapping[str, Any] | None = None,
    transforms: Sequence[Mapping[str, Any]] = (),
    *,
    dimension: int = 10,
    steps: int = 200,
    meta_steps: int = 300,
    minutes: float = 10.0,
    learning_rate: float = 1e-3,
    xla: bool = True,
    **spec: Any,
) -> MetaTrained:
    """Meta-train from a spec on quadratics, and run the initial and the averaged weights on others.

    Args:
        optimizer: its name, as in a spec.
        options: its options.
        transforms: transformations around it, as in a spec.
        dimension: of the quadratics.
        steps: inner steps after which the losses are compared.
        meta_steps: at most; with enough minutes the outcome is a function of the arguments.
        minutes: of meta-training, at most.
        learning_rate: of the meta-optimizer, Adam, which it begins with; it falls as a cosine.
        xla: compiled; tiny runs are faster without.
        spec: other sections of the spec, such as `estimator`, instead of those below.
    """
    content = {
        "meta_steps": meta_steps,
        "optimizer": {"name": optimizer, "options": dict(options or {}), "transforms": transforms},
        "problems": [{"name": "quadratic", "options": {"dimension": dimension}}],
        "families_per_step": 1,
        "instances": 32,
        "truncation": {"distribution": "constant", "maximum": 20},
        "horizon": {"distribution": "log_uniform", "minimum": 20, "maximum": 2 * steps},
        "meta_optimizer": {
            "learning_rate": learning_rate,
            "clip_norm": 1.0,
            "schedule": {"kind": "cosine", "final": 0.05},
        },
        "ema": 0.9,
        "checkpoint_every": meta_steps,
    } | spec
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer.open(MetaTraining.model_validate(content), Path(folder) / "run", xla=xla)
        initial, began = trainer.state.weights.average, time.monotonic()
        trainer.run(lambda progress: None, until=began + 60 * minutes)
        seconds = time.monotonic() - began
    trained = trainer.state.best
    losses = [mean_loss(trainer.optimizer, weights, dimension, steps, xla) for weights in (initial, trained)]
    return MetaTrained(*losses, trainer.state.meta_step, seconds)


def mean_loss(optimizer: Optimizer, weights: Weights, dimension: int, steps: int, xla: bool = True) -> float:
    """The mean loss before step number `steps` over quadratics of their own; infinite where one diverged."""
    rollout = Rollout(Quadratic(dimension), optimizer, maximum=steps, xla=xla)
    weights = {name: tf.convert_to_tensor(value) for name, value in weights.items()}
    start = rollout.start(weights, EVALUATION_SEED, EVALUATION_INSTANCES)
    _, losses = rollout(weights, start, steps)
    final = np.mean(losses[-1])
    return float(final) if np.isfinite(final) else np.inf
