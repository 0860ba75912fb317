"""From what a user types to an optimizer with weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l2o_cli import assets
from l2o_cli.errors import BadInput
from l2o_cli.export.artifact import CARD, LoadedOptimizer, load_artifact
from l2o_cli.export.keras_config import read_keras_file
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.spec import OptimizerSpec, parse_part, part_text, split_outside, unknown
from l2o_cli.spec.building import transformed

UNTRAINED = ":untrained"
INITIAL = "untrained, seed 0"


def resolve(name_or_path: str | os.PathLike) -> LoadedOptimizer:
    """The optimizer a user means: `WHICH+transformation(option=value)+...`, the innermost transformation first.

    WHICH is one of, in this order: `NAME:untrained`, the initial weights (seed 0) of a learned optimizer, with the options of
    the checkpoint of that name or path if there is one; a hand-designed optimizer with its default hyperparameters; a published
    checkpoint; an artifact directory, a run directory (which contains artifact/), or a file that `l2o export --format keras`
    wrote. `NAME(option=value, ...)` replaces options of a hand-designed optimizer, and of a trained one those that have no part
    in its weights, `TRANSFORMATION/option=value` those of a transformation in it; `NAME(option=value, ...):untrained` those of a
    learned one before meta-training.

    A path that is also a name is meant as ./NAME. Brackets and plus signs belong to a path where one exists as it stands.

    Raises:
        BadInput: nothing of that name; the message has the nearest name there is.
        Failure: what was found is damaged.
    """
    which, transforms = _split(os.fspath(name_or_path))
    loaded = _resolved(which)
    return _transformed(loaded, [parse_part(text, "transformation") for text in transforms]) if transforms else loaded


def _split(text: str) -> tuple[str, list[str]]:
    """What is transformed, as long as there is such a path, and the transformations around it."""
    if os.path.exists(text):  # unlike that of `Path` it says no to what no path can be: too long a name, one with a NUL
        return text, []
    parts = split_outside(text, "+")
    for count in range(len(parts), 1, -1):
        path = "+".join(parts[:count])
        if os.path.exists(path.removesuffix(UNTRAINED)):
            return path, parts[count:]
    return (parts[0], parts[1:]) if parts else ("", [])


def _is_published(name: str) -> bool:
    return bool(name) and Path(name).name == name and os.path.isfile(assets.checkpoints() / name / CARD)


def _transformed(loaded: LoadedOptimizer, transforms: Sequence[Mapping[str, Any]]) -> LoadedOptimizer:
    optimizer = transformed(loaded.optimizer, transforms)
    label = "+".join([loaded.label, *(part_text(part["name"], part["options"]) for part in transforms)])
    weights = _as_float32({**optimizer.init_weights(0), **loaded.weights})
    if optimizer.learned and weights.keys() - loaded.weights.keys() and loaded.source != INITIAL:
        raise BadInput(f"optimizer {label!r}: a part of it would be untrained; meta-train it as a whole")
    return LoadedOptimizer(label, optimizer, weights, _unscored(loaded.card), loaded.source)


def _resolved(which: str) -> LoadedOptimizer:
    text, options = which.removesuffix(UNTRAINED), {}
    name = text
    if "(" in text and not os.path.exists(text):
        part = parse_part(text, "optimizer")
        name, options = part["name"], part["options"]
    if which.endswith(UNTRAINED):
        return _untrained(name, options)
    if name in OPTIMIZERS and not OPTIMIZERS[name].learned:
        return _initial(part_text(name, options), OptimizerSpec(name=name, options=options), "built in")
    loaded = _named(name)
    return _with_options(loaded, options, which) if options else loaded


def _with_options(loaded: LoadedOptimizer, options: Mapping[str, Any], which: str) -> LoadedOptimizer:
    """The trained optimizer with other options, as long as these have no part in the weights.

    An option `TRANSFORMATION/NAME` is that of a transformation in it.
    """
    spec = OptimizerSpec.of(loaded.optimizer).plain
    for path, value in options.items():
        layer, _, name = path.rpartition("/")
        parts = [part for part in spec.get("transforms", ()) if part["name"] == layer] if layer else [spec]
        if len(parts) != 1:
            has = [part["name"] for part in spec.get("transforms", ())]
            raise BadInput(f"optimizer {which!r}: no one transformation {layer!r} in it; it has {', '.join(has) or 'none'}")
        parts[0]["options"][name] = value
    optimizer = OptimizerSpec.model_validate(spec).make()
    before, after = loaded.optimizer.init_weights(0), optimizer.init_weights(0)
    if before.keys() != after.keys() or not all(np.array_equal(before[name], after[name]) for name in before):
        raise BadInput(
            f"optimizer {which!r}: a trained one keeps the options that its weights depend on; "
            f"{which}{UNTRAINED} begins anew with these"
        )
    return LoadedOptimizer(part_text(loaded.label, options), optimizer, loaded.weights, _unscored(loaded.card), loaded.source)


def _unscored(card: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The card of an optimizer that is changed: what was measured is of another."""
    return {name: section for name, section in card.items() if name not in ("scores", "large_networks")} if card else None


def _named(name: str) -> LoadedOptimizer:
    """A published checkpoint, or what lies at a path."""
    if _is_published(name):
        loaded = load_artifact(assets.checkpoints() / name)
        return LoadedOptimizer(name, loaded.optimizer, loaded.weights, loaded.card, "published")
    path = Path(name)
    if os.path.isdir(name):
        inside = path / "artifact"
        return load_artifact(inside if (inside / CARD).exists() and not (path / CARD).exists() else path)
    if os.path.isfile(name):
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


def _untrained(name: str, options: Mapping[str, Any]) -> LoadedOptimizer:
    """The initial weights, seed 0, of a learned optimizer by name, or of the one that `name` resolves to, with its options."""
    spec, label = OptimizerSpec(name=name), name
    if name not in OPTIMIZERS or _is_published(name):
        trained = _resolved(name)
        spec, label = OptimizerSpec.of(trained.optimizer), trained.label
    if not spec.make().learned:
        raise BadInput(f"optimizer {name!r} is not learned, so there is no untrained one; say {name!r}")
    spec = spec.model_copy(update={"options": {**spec.options, **options}})
    return _initial(part_text(label, options) + UNTRAINED, spec, INITIAL)


def _initial(label: str, spec: OptimizerSpec, source: str) -> LoadedOptimizer:
    optimizer = spec.make()
    return LoadedOptimizer(label, optimizer, _as_float32(optimizer.init_weights(0)), None, source)


def _as_float32(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, np.float32) for name, value in weights.items()}
