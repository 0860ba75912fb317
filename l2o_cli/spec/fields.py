"""What the fields of a spec are: their kinds, defaults and meanings, read off the models."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import pydantic
import pydantic_core
from pydantic.fields import FieldInfo

from l2o_cli.spec.model import Besides, Model

_PLAIN = {int: "integer", float: "number", bool: "true or false", str: "text", Any: "any value", dict: "mapping"}
LARGEST = 1e9  # of bounds that are told


@dataclass(frozen=True)
class Kind:
    """What values a field takes."""

    name: str  # a value of _PLAIN, "choice", "section" or "list"
    least: float | None = None
    most: float | None = None
    above: bool = False  # whether it is greater than `least`
    below: bool = False  # whether it is less than `most`
    choices: tuple[str, ...] = ()
    models: tuple[type[Model], ...] = ()  # of a section: those that it may be
    entry: Kind | None = None  # of a list
    nullable: bool = False

    @property
    def text(self) -> str:
        """As a person reads it: `integer from 1 to 101`."""
        low = "" if self.least is None else f" {'above' if self.above else 'from'} {self.least:g}"
        high = "" if self.most is None or self.most >= LARGEST else f"{', below' if self.below else ' to'} {self.most:g}"
        return f"{self._named}{low}{high}{' or null' if self.nullable else ''}"

    @property
    def _named(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.entry:
            return "list of " + re.sub(r"\b(section|text|integer|number|value)\b", r"\1s", self.entry.text)
        return self.name + "".join(model.shorthand for model in self.models[:1])


@dataclass(frozen=True)
class Described:
    """A field of a section."""

    name: str
    kind: Kind
    required: bool
    default: Any  # plain; of a required one an example, None where there is none
    description: str

    @property
    def sections(self) -> tuple[type[Model], ...]:
        """What it is, or its entries are."""
        return (self.kind.entry or self.kind).models


def name_of(section: type[Model] | str) -> str:
    """A section's name for people, of its class or the name of that: OptimizerSpec -> optimizer."""
    name = section if isinstance(section, str) else section.__name__
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("Spec")).lower()


def fields_of(model: type[pydantic.BaseModel]) -> Iterator[Described]:
    """The fields of a section in their order."""
    for name, field in model.model_fields.items():
        yield described(name, field)


def described(name: str, field: FieldInfo) -> Described:
    """A field of a model of pydantic."""
    kind = _kind(field.annotation, field.metadata)
    required = field.is_required()
    if not required:
        value = field.get_default(call_default_factory=True)
    elif field.examples:
        value = field.examples[0]
    else:
        value = kind.choices[0] if kind.choices else None
    return Described(name, kind, required, pydantic_core.to_jsonable_python(value), field.description or "")


def _kind(hint: Any, metadata: Iterable[Any] = ()) -> Kind:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _kind(inner[0], [*inner[1:], *metadata])
    if origin in (Union, types.UnionType):
        [one] = [alternative for alternative in inner if alternative is not types.NoneType]
        return dataclasses.replace(_kind(one, metadata), nullable=True)
    if origin is Literal:
        return Kind("choice", choices=inner)
    if origin is tuple:
        entry = _kind(inner[0])
        besides = tuple(model for mark in metadata if isinstance(mark, Besides) for model in mark.models)
        return Kind("list", entry=dataclasses.replace(entry, models=(*entry.models, *besides)))
    if inspect.isclass(hint) and issubclass(hint, Model):
        return Kind("section", models=(hint,))
    return _bounded(Kind(_PLAIN[origin or hint]), metadata)


def _bounded(kind: Kind, metadata: Iterable[Any]) -> Kind:
    """The kind within the bounds that pydantic was given."""
    marks = [one for mark in metadata for one in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]
    bounds = {name: getattr(mark, name) for mark in marks for name in ("ge", "gt", "le", "lt") if hasattr(mark, name)}
    if kind.name == "integer" and "gt" in bounds:
        bounds["ge"] = bounds.pop("gt") + 1
    least, most = (bounds.get(closed, bounds.get(open_)) for closed, open_ in (("ge", "gt"), ("le", "lt")))
    return dataclasses.replace(kind, least=least, most=most, above="gt" in bounds, below="lt" in bounds)
