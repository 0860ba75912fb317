"""From names and options to objects, and to optimizers above all; without TensorFlow."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic

from l2o_cli.errors import BadInput
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.transforms import TRANSFORMS
from l2o_cli.spec.faults import first_problem, unknown
from l2o_cli.spec.strict import Misplaced, check_kinds


def build(kind: str, classes: Mapping[str, Any], name: str, options: Mapping[str, Any], **inner: Any) -> Any:
    """The class of that name, made with options, which its annotations validate if it is a dataclass."""
    if name not in classes:
        raise unknown(kind, name, classes)
    try:
        return called(classes[name], {**inner, **options})
    except WRONG_OPTIONS as error:
        raise BadInput(f"{kind} {name!r}: {first_wrong(error)}") from None
    except (TypeError, ValueError) as error:
        reason = str(error).split("() got an ")[-1]
        raise BadInput(f"{kind} {name!r}: {reason}") from None


WRONG_OPTIONS = (Misplaced, pydantic.ValidationError)


def first_wrong(error: Misplaced | pydantic.ValidationError) -> str:
    """The first option that is wrong, and why."""
    return f"options.{error.place}: {error}" if isinstance(error, Misplaced) else first_problem(error, "options")


def called(factory: Any, options: Mapping[str, Any]) -> Any:
    """What `factory` makes of the options, which its annotations validate if it is a dataclass."""
    if isinstance(factory, functools.partial):
        factory, options = factory.func, {**factory.keywords, **options}
    if isinstance(factory, type) and dataclasses.is_dataclass(factory):
        check_kinds(factory, options)
        return _validator(factory).validate_python(dict(options))
    return factory(**options)


_validator = functools.cache(pydantic.TypeAdapter)


def make_optimizer(name: str, options: Mapping[str, Any] | None = None, transforms: Iterable[Any] = ()) -> Optimizer:
    """The optimizer `name` with its options, inside each transformation in turn; BadInput when any of them is wrong.

    Args:
        transforms: mappings with `name` and `options`; the first is the innermost.
    """
    return transformed(build("optimizer", OPTIMIZERS, name, options or {}), transforms)


def transformed(optimizer: Optimizer, transforms: Iterable[Any]) -> Optimizer:
    """The optimizer inside each transformation in turn, as for `make_optimizer`."""
    for one in transforms:
        optimizer = build("transformation", TRANSFORMS, one["name"], one.get("options", {}), inner=optimizer)
    return optimizer
