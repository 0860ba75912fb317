"""Experiment specs: YAML <-> typed, documented, closed models."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from l2o_cli.errors import BadInput
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.base import Optimizer
from problems.base import Problem
from problems.registry import PROBLEMS, TRANSFORMS


def unknown(kind: str, name: str, known: Iterable[str]) -> BadInput:
    """The error for a name that is not there, with the nearest one that is."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    return BadInput(f"unknown {kind} {name!r}; {hint}")


def first_problem(error: pydantic.ValidationError) -> str:
    """The first complaint of a validation, as `field.path: what is wrong (got value)`."""
    complaint = error.errors()[0]
    path = ".".join(str(part) for part in complaint["loc"]) or "(top level)"
    if complaint["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{path}: unknown field"
    value = "" if complaint["type"] == "missing" else f" (got {complaint['input']!r})"
    return f"{path}: {complaint['msg']}{value}"


def _build(kind: str, classes: Mapping[str, type], name: str, options: Mapping[str, Any], **fixed: Any) -> Any:
    if name not in classes:
        raise unknown(kind, name, classes)
    try:
        return pydantic.TypeAdapter(classes[name]).validate_python({**options, **fixed})
    except pydantic.ValidationError as error:
        raise BadInput(f"{kind} {name!r}: options.{first_problem(error)}") from None


def make_optimizer(name: str, options: Mapping[str, Any] | None = None) -> Optimizer:
    """The optimizer `name` with its options; BadInput when either is wrong."""
    return _build("optimizer", OPTIMIZERS, name, options or {})


def make_problem(name: str, options: Mapping[str, Any] | None = None, transforms: Iterable[Any] = ()) -> Problem:
    """The problem `name` with its options, inside each transformation in turn; BadInput when any of them is wrong.

    `transforms` are mappings with `name` and `options`; the first is the innermost.
    """
    problem = _build("problem", PROBLEMS, name, options or {})
    for transform in transforms:
        if transform["name"] not in TRANSFORMS:
            raise unknown("transformation", transform["name"], TRANSFORMS)
        problem = TRANSFORMS[transform["name"]](problem, **transform.get("options", {}))
    return problem
