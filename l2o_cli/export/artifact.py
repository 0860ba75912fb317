"""An optimizer with its weights as a directory on disk.

An artifact is a directory with `weights.safetensors` (float32) and `card.yaml` (which optimizer, how it was meta-trained, its
scores). The card holds the SHA-256 of the weights file, so that the two cannot be mixed up, and since format 2 another one of
everything that decides what the optimizer does. The free sections are for people, and may be edited.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from pydantic_core import to_jsonable_python
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from l2o_cli import yaml12
from l2o_cli.errors import BadInput, Failure
from l2o_cli.files import write_atomically
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.transforms import names_of
from l2o_cli.spec import OptimizerSpec, first_problem

FORMAT = 2  # 1 has no seal
CARD, WEIGHTS = "card.yaml", "weights.safetensors"


@dataclass(frozen=True, eq=False)
class LoadedOptimizer:
    """An optimizer ready to run.

    Attributes:
        label: what it is called in results: the published name, or the name of its directory.
        weights: float32 arrays, as `optimizer.init_weights` shapes them.
        card: the card of its artifact; None if it has none.
        source: where it comes from: "built in", "published", "untrained, seed 0" or a path.
    """

    label: str
    optimizer: Optimizer
    weights: dict[str, np.ndarray]
    card: dict[str, Any] | None
    source: str


class _CardWeights(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    sha256: str
    count: int


class _Card(pydantic.BaseModel):
    """What a card must say, and may; the sections about meta-training and scores are free."""

    model_config = pydantic.ConfigDict(extra="allow")

    format: Literal[1, 2]
    optimizer: OptimizerSpec
    weights: _CardWeights
    sha256: str | None = None  # the seal of the fields above
    weaknesses: list[str] | None = None  # what it is bad at, in texts by people; commands that write scores keep them


def seal(fields: Mapping[str, Any]) -> str:
    """The SHA-256 of plain values, whatever order they are in and whichever file they come from."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def weights_to_bytes(weights: Mapping[str, Any]) -> bytes:
    """Weights in the safetensors format, float32."""
    return save_safetensors({name: np.array(value, np.float32, order="C") for name, value in weights.items()})


def weights_from_bytes(content: bytes, optimizer: Optimizer, file: Path | str) -> dict[str, np.ndarray]:
    """The inverse of `weights_to_bytes`; Failure, naming `file`, unless they are just the weights `optimizer` has."""
    try:
        weights = load_safetensors(content)
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise Failure(f"{file}: damaged, not in the safetensors format ({error})") from None
    expected = {name: np.shape(value) for name, value in optimizer.init_weights(0).items()}
    for name in expected.keys() - weights.keys():
        raise Failure(f"{file}: weight {name!r} of optimizer {names_of(optimizer)!r} is missing")
    for name in weights.keys() - expected.keys():
        raise Failure(f"{file}: weight {name!r} is not one of optimizer {names_of(optimizer)!r}")
    for name, value in weights.items():
        if value.shape != expected[name]:
            raise Failure(f"{file}: weight {name!r} has the shape {value.shape}, not {expected[name]}")
        if value.dtype != np.float32:
            raise Failure(f"{file}: weight {name!r} is {value.dtype}, not float32")
        if not np.isfinite(value).all():
            raise Failure(f"{file}: weight {name!r} is not finite")
    return weights


def save_artifact(directory: Path | str, optimizer: Optimizer, weights: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    """Write or replace the artifact `directory`, atomically: a killed process leaves the old one or the new one.

    Args:
        weights: as `optimizer.init_weights` shapes them.
        card: further sections (how it was meta-trained, its scores). `format`, `optimizer`, `weights` and `sha256` are written
            from the other arguments, whatever `card` says of them.

    Raises:
        Failure: the files cannot be written.
    """
    directory = Path(directory)
    content = weights_to_bytes(weights)
    digest = hashlib.sha256(content).hexdigest()
    fixed = {
        "format": FORMAT,
        "optimizer": OptimizerSpec.of(optimizer).plain,
        "weights": {"sha256": digest, "count": int(sum(np.size(value) for value in weights.values()))},
    }
    fixed["sha256"] = seal(fixed)
    text = _text(fixed | {key: value for key, value in card.items() if key not in fixed})
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # The card is the point of no return: until it is replaced the old pair is whole, afterwards the new one is, its
        # weights under the pending name for a moment (`_matching_weights` looks there too).
        pending = _pending(directory, digest)
        write_atomically(pending, content)
        write_atomically(directory / CARD, text)
        os.replace(pending, directory / WEIGHTS)
        for abandoned in directory.glob(f".{WEIGHTS}.*"):
            abandoned.unlink(missing_ok=True)
    except OSError as error:
        raise Failure(f"{directory}: cannot be written: {error.strerror or error}") from None


def load_artifact(directory: Path | str) -> LoadedOptimizer:
    """The optimizer in an artifact directory, checked against its card.

    Raises:
        BadInput: there is no such directory, or no artifact in it.
        Failure: the card or the weights are damaged; the message names the file and the field.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise BadInput(f"{directory}: no such directory")
    if not (directory / CARD).exists():
        raise BadInput(f"{directory}: no artifact here ({CARD} and {WEIGHTS}, or a run with artifact/)")
    content = read_card(directory / CARD)
    card = _Card.model_validate(content)
    try:
        optimizer = card.optimizer.make()
    except BadInput as error:
        raise Failure(f"{directory / CARD}: {error}") from None
    weights = weights_from_bytes(_matching_weights(directory, card.weights.sha256), optimizer, directory / WEIGHTS)
    count = sum(value.size for value in weights.values())
    if card.weights.count != count:
        raise Failure(f"{directory / CARD}: weights.count: {card.weights.count}, but {WEIGHTS} has {count}")
    return LoadedOptimizer(_label(directory), optimizer, weights, content, str(directory))


def read_card(path: Path) -> dict[str, Any]:
    """The card in a file, with the sections every card has, its seal checked; Failure, naming the field, if it is damaged."""
    try:
        content = yaml12.read(path)
    except BadInput as error:
        raise Failure(str(error)) from None
    if not isinstance(content, dict):
        raise Failure(f"{path}: damaged, expected fields at the top level, found {type(content).__name__}")
    try:
        card = _Card.model_validate(content)
    except pydantic.ValidationError as error:
        raise Failure(f"{path}: {first_problem(error)}") from None
    if card.format == 1 and card.sha256 is not None:
        raise Failure(f"{path}: format: 1 has no sha256; one of the two is damaged")
    if card.format > 1 and card.sha256 != _seal_of(content):
        raise Failure(f"{path}: damaged, its sha256 is not that of format, optimizer and weights")
    return content


def _seal_of(content: Mapping[str, Any]) -> str:
    try:
        return seal({name: content[name] for name in ("format", "optimizer", "weights")})
    except (TypeError, ValueError):  # what JSON does not know: a date, a mapping with itself in it
        return "none"


def _pending(directory: Path, digest: str) -> Path:
    return directory / f".{WEIGHTS}.{digest[:16]}"


def _matching_weights(directory: Path, digest: str) -> bytes:
    """The content of the weights file the card speaks of."""
    for path in (directory / WEIGHTS, _pending(directory, digest)):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Failure(f"{path}: cannot be read ({error.strerror})") from None
        if hashlib.sha256(content).hexdigest() == digest:
            return content
    if not (directory / WEIGHTS).exists():
        raise Failure(f"{directory / WEIGHTS}: no such file, but {CARD} speaks of it")
    raise Failure(f"{directory / WEIGHTS}: damaged, its SHA-256 is not the one in {CARD} (weights.sha256)")


def _text(card: Mapping[str, Any]) -> str:
    """A card as YAML, numpy's numbers and arrays being numbers and lists in it, and paths texts."""
    return yaml12.write(to_jsonable_python(card, fallback=lambda value: value.tolist()), unicode=True)


def add_to_card(directory: Path | str, section: str, content: Any) -> None:
    """Set a section of the card of the artifact `directory`, the others and the weights as they are.

    Raises:
        Failure: the card is damaged or cannot be written.
    """
    path = Path(directory) / CARD
    write_atomically(path, _text({**read_card(path), section: content}))


def _label(directory: Path) -> str:
    directory = directory.resolve()
    return directory.parent.name if directory.name == "artifact" else directory.name
