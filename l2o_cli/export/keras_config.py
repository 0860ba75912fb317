"""An optimizer with its weights inside a Keras configuration, and read from the file that holds one.

The weights travel in the configuration, not as variables: a Keras optimizer must be complete once made from its
configuration, and Keras skips the variables of an optimizer that was saved before its first step.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l2o_cli.errors import BadInput, Failure
from l2o_cli.export.artifact import LoadedOptimizer, weights_from_bytes, weights_to_bytes
from l2o_cli.spec import OptimizerSpec, make_optimizer

REGISTERED_NAME = "l2o>LearnedOptimizer"


def to_config(loaded: LoadedOptimizer) -> dict[str, Any]:
    """`loaded` without its card as plain values; `weights` is a safetensors file in base 64."""
    return {
        "label": loaded.label,
        **OptimizerSpec.of(loaded.optimizer).plain,
        "weights": base64.b64encode(weights_to_bytes(loaded.weights)).decode(),
    }


def from_config(config: Mapping[str, Any], source: str, card: dict[str, Any] | None = None) -> LoadedOptimizer:
    """The inverse of `to_config`; Failure, naming `source` and the field, if the configuration is damaged."""
    try:
        label, name, options, weights = (config[key] for key in ("label", "name", "options", "weights"))
    except KeyError as error:
        raise Failure(f"{source}: damaged, optimizer.{error.args[0]} is missing") from None
    try:
        optimizer = make_optimizer(name, options, config.get("transforms", ()))
        content = base64.b64decode(weights, validate=True)
    except BadInput as error:
        raise Failure(f"{source}: {error}") from None
    except (binascii.Error, TypeError):
        raise Failure(f"{source}: damaged, optimizer.weights is not base 64") from None
    return LoadedOptimizer(label, optimizer, weights_from_bytes(content, optimizer, source), card, source)


def read_keras_file(path: Path) -> LoadedOptimizer:
    """The optimizer in a file that `l2o_cli.export.keras_optimizer.keras_file` made.

    Raises:
        BadInput: the file is something else.
        Failure: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # not UTF-8, or not JSON
        raise BadInput(f"{path}: not an exported optimizer (neither JSON nor an artifact directory)") from None
    except OSError as error:
        raise Failure(f"{path}: cannot be read ({error.strerror})") from None
    if not isinstance(content, dict) or content.get("registered_name") != REGISTERED_NAME:
        raise BadInput(f"{path}: not an exported optimizer (registered_name is not {REGISTERED_NAME!r})")
    inner = content.get("config")
    if not isinstance(inner, dict) or not isinstance(inner.get("optimizer"), dict):
        raise Failure(f"{path}: damaged, config.optimizer is missing")
    return from_config(inner["optimizer"], str(path), content.get("card"))
