"""From what a user types to an optimizer with weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from l2o_cli import assets
from l2o_cli.errors import BadInput
from l2o_cli.export.artifact import CARD, LoadedOptimizer, load_artifact
from l2o_cli.export.keras_config import read_keras_file
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.spec import make_optimizer, unknown

UNTRAINED = ":untrained"


def resolve(name_or_path: str | os.PathLike) -> LoadedOptimizer:
    """The optimizer a user means.

    One of, in this order: `NAME:untrained`, the initial weights (seed 0) of a learned optimizer, with the options of the
    checkpoint of that name or path if there is one; a hand-designed optimizer
    with its default hyperparameters; a published checkpoint; an artifact directory, a run directory (which contains
    artifact/), or a file that `l2o export --format keras` wrote. A path that is also a name is meant as ./NAME.

    Raises:
        BadInput: nothing of that name; the message has the nearest name there is.
        Failure: what was found is damaged.
    """
    name = os.fspath(name_or_path)
    published = assets.checkpoints()
    if name.endswith(UNTRAINED):
        return _untrained(name.removesuffix(UNTRAINED))
    if name in OPTIMIZERS and not OPTIMIZERS[name].learned:
        optimizer = make_optimizer(name)
        return LoadedOptimizer(name, optimizer, _as_float32(optimizer.init_weights(0)), None, "built in")
    if name and Path(name).name == name and (published / name / CARD).is_file():
        loaded = load_artifact(published / name)
        return LoadedOptimizer(name, loaded.optimizer, loaded.weights, loaded.card, "published")
    path = Path(name)
    if name and path.is_dir():
        inside = path / "artifact"
        return load_artifact(inside if (inside / CARD).exists() and not (path / CARD).exists() else path)
    if name and path.is_file():
        return read_keras_file(path)
    if name in OPTIMIZERS:
        raise BadInput(
            f"optimizer {name!r} is learned and no checkpoint is published under that name; "
            f"give the directory of one, or {name}{UNTRAINED} for its initial weights"
        )
    if len(path.parts) > 1 or name.startswith("."):
        raise BadInput(f"{name}: no such file or directory")
    raise unknown("optimizer", name, {*names(), *OPTIMIZERS})


def names() -> list[str]:
    """What `resolve` knows by name: hand-designed optimizers, published checkpoints, untrained learned optimizers."""
    published = assets.checkpoints()
    found = {card.parent.name for card in published.glob(f"*/{CARD}")} if published.is_dir() else set()
    found |= {name + UNTRAINED if cls.learned else name for name, cls in OPTIMIZERS.items()}
    return sorted(found)


def _untrained(name: str) -> LoadedOptimizer:
    """The initial weights, seed 0, of a learned optimizer by name, or of the one that `name` resolves to, with its options."""
    plain = name in OPTIMIZERS and not (assets.checkpoints() / name / CARD).is_file()
    trained = None if plain else resolve(name)
    optimizer = trained.optimizer if trained else make_optimizer(name)
    if not optimizer.learned:
        raise BadInput(f"optimizer {name!r} is not learned, so there is no untrained one; say {name!r}")
    label = trained.label if trained else name
    return LoadedOptimizer(label + UNTRAINED, optimizer, _as_float32(optimizer.init_weights(0)), None, "untrained, seed 0")


def _as_float32(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float32) for name, value in weights.items()}
