"""What the catalogs say of problems and optimizers alike, and how they write values: for programs and for people."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]


def transform_rows(transforms: Mapping[str, Any]) -> list[Row]:
    """One for each transformation, of problems or of optimizers."""
    return [
        {"name": name, "options": [f"{option}={plain(value)}" for option, value in defaults(cls).items()], "summary": cls.summary}
        for name, cls in sorted(transforms.items())
    ]


def defaults(cls: type) -> dict[str, Any]:
    """The options of a class with their defaults; without what is inside a transformation."""
    return {field.name: field.default for field in dataclasses.fields(cls) if field.name != "inner"}


def description_of(one: Any) -> str:
    """The docstring of its class; the summary where it has none of its own."""
    written = type(one).__doc__ or ""
    made_by_dataclass = written.startswith(f"{type(one).__name__}(")
    return one.summary if made_by_dataclass or not written else inspect.cleandoc(written)


def options_of(one: Any) -> dict[str, Any]:
    """Values are those of JSON; anything else among them is its text."""
    return {name: json_value(getattr(one, name)) for name in defaults(type(one))} if dataclasses.is_dataclass(one) else {}


def transforms_of(layers: Sequence[Any]) -> list[Row]:
    return [{"name": one.name, "description": description_of(one), "options": options_of(one)} for one in layers]


def json_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [json_value(part) for part in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def plain(value: Any) -> str:
    """A value as it is written in a spec or on a command line, floats with six digits."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def beginning(title: str, description: Mapping[str, Any]) -> list[str]:
    """Blocks: what it is, its options with their defaults where they are others, and its transformations."""
    options = {name: plain(value) for name, value in description["options"].items()}
    others = {name: plain(value) for name, value in description["defaults"].items() if plain(value) != options[name]}
    options |= {name: f"{options[name]} (default {default})" for name, default in others.items()}
    blocks = [f"{title}: {description['summary']}", description["description"], *_options(options)]
    for transform in description["transforms"]:
        own = {name: plain(value) for name, value in transform["options"].items()}
        blocks += [f"{transform['name']}: {transform['description']}", *_options(own)]
    return blocks


def _options(options: Mapping[str, str]) -> list[str]:
    return [block("options", options)] if options else []


def shapes(title: str, tensors: Mapping[str, Sequence[int]]) -> str:
    return block(title, {name: " x ".join(map(str, shape)) or "scalar" for name, shape in tensors.items()})


def block(title: str, rows: Mapping[str, str]) -> str:
    """A title and lines `name  value` below it."""
    width = max(map(len, rows))
    return "\n".join([title, *(f"  {name.ljust(width)}  {value}" for name, value in rows.items())])
