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

import pydantic

from l2o_cli.errors import BadInput, Failure
from l2o_cli.export.artifact import FORMAT, LoadedOptimizer, seal, weights_from_bytes, weights_to_bytes
from l2o_cli.spec import OptimizerSpec, first_problem

REGISTERED_NAME = "l2o>LearnedOptimizer"
_NEEDED, _SEALED, _SPEC = ("label", "name", "options", "weights"), ("format", "sha256"), ("name", "options", "transforms")


def to_config(loaded: LoadedOptimizer) -> dict[str, Any]:
    """`loaded` without its card as plain values; `weights` is a safetensors file in base 64, `sha256` the seal of all of them."""
    config = {
        "format": FORMAT,
        "label": loaded.label,
        **OptimizerSpec.of(loaded.optimizer).plain,
        "weights": base64.b64encode(weights_to_bytes(loaded.weights)).decode(),
    }
    return {**config, "sha256": seal(config)}


def from_config(config: Any, source: str, card: dict[str, Any] | None = None) -> LoadedOptimizer:
    """The inverse of `to_config`; Failure, naming `source` and the field, if that is damaged."""
    fields = _unsealed(config, source)
    try:
        optimizer = OptimizerSpec.model_validate({part: fields[part] for part in _SPEC if part in fields}).make()
        content = base64.b64decode(fields["weights"], validate=True)
    except BadInput as error:
        raise Failure(f"{source}: {error}") from None
    except pydantic.ValidationError as error:
        raise Failure(f"{source}: {first_problem(error, 'optimizer')}") from None
    except (binascii.Error, TypeError, ValueError):
        raise Failure(f"{source}: damaged, optimizer.weights is not base 64") from None
    return LoadedOptimizer(fields["label"], optimizer, weights_from_bytes(content, optimizer, source), card, source)


def _unsealed(config: Any, source: str) -> dict[str, Any]:
    """The fields of a configuration that decide what it is of, as they were sealed; before format 2 they were not."""
    if not isinstance(config, Mapping):
        raise Failure(f"{source}: damaged, optimizer is no mapping")
    sealed = any(name in config for name in _SEALED)
    for name in (*_NEEDED, *(_SEALED if sealed else ())):
        if name not in config:
            raise Failure(f"{source}: damaged, optimizer.{name} is missing")
    for name in config:
        if name not in (*_NEEDED, *_SEALED, *_SPEC):
            raise Failure(f"{source}: damaged, optimizer.{name}: unknown field")
    fields = {name: value for name, value in config.items() if name != "sha256"}
    if sealed and config["format"] != FORMAT:
        raise Failure(f"{source}: optimizer.format: {config['format']!r}, and this version of l2o reads up to {FORMAT}")
    if sealed and config["sha256"] != seal(fields):
        raise Failure(f"{source}: damaged, optimizer.sha256 is not that of the other fields")
    if not isinstance(fields["label"], str):
        raise Failure(f"{source}: damaged, optimizer.label is no text")
    return fields


def read_keras_file(path: Path) -> LoadedOptimizer:
    """The optimizer in a file that `l2o_cli.export.keras_optimizer.keras_file` made.

    Raises:
        BadInput: the file is something else.
        Failure: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # not UTF-8, or not JSON
        raise BadInput(f"{path}: not an exported optimizer (neither JSON nor an artifact directory)") from None
    except OSError as error:
        raise Failure(f"{path}: cannot be read ({error.strerror})") from None
    if not isinstance(content, dict) or content.get("registered_name") != REGISTERED_NAME:
        raise BadInput(f"{path}: not an exported optimizer (registered_name is not {REGISTERED_NAME!r})")
    inner = content.get("config")
    if not isinstance(inner, dict) or not isinstance(inner.get("optimizer"), dict):
        raise Failure(f"{path}: damaged, config.optimizer is missing")
    card = content.get("card")
    if card is not None and not isinstance(card, dict):
        raise Failure(f"{path}: damaged, card is no mapping")
    return from_config(inner["optimizer"], str(path), card)
