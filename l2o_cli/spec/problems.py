"""Problems in a spec or on the command line: one, a draw from distributions, or a named ensemble, filtered and weighted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
from l2o_problems.base import Problem
from l2o_problems.ensembles import ENSEMBLES
from l2o_problems.from_file import is_file_name, located
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from l2o_cli.errors import BadInput, shown
from l2o_cli.spec.lengths import Lengths
from l2o_cli.spec.model import Model, TransformSpec
from l2o_cli.spec.names import first_problem, make_problem, unknown
from l2o_cli.spec.strict import Misplaced
from l2o_cli.spec.text import parse_parts, part_text

LARGEST = 10**15  # of whole numbers that are drawn
MOST_FAMILIES = 10_000  # of an ensemble; each is a problem that is checked before the first run begins

# {distribution: [arguments]} where an option stands; (generator, arguments) -> value.
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, Sequence[Any]], Any]] = {
    "uniform": lambda rng, ends: _short(rng.uniform(*ends)),
    "log_uniform": lambda rng, ends: _short(math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))),
    "integer": lambda rng, ends: int(rng.integers(int(ends[0]), int(ends[1]) + 1)),
    "log_integer": lambda rng, ends: round(math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))),
    "choice": lambda rng, values: values[int(rng.integers(len(values)))],
}


def _check_ends(kind: str, arguments: Any) -> None:
    """ValueError, which says why, unless a value can be drawn from `{kind: arguments}`."""
    if not isinstance(arguments, list | tuple) or not arguments:
        raise ValueError("expected a list of values")
    if kind == "choice":
        return
    numbers = [isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in arguments]
    if len(arguments) != 2 or not all(numbers):
        raise ValueError("expected two numbers, [least, greatest]")
    low, high = arguments
    if low > high:
        raise ValueError(f"the first end, {shown(low)}, is greater than the second, {shown(high)}")
    if kind.startswith("log") and low <= 0:
        raise ValueError("expected numbers above 0, whose logarithms are drawn")
    if kind.endswith("integer") and (low != int(low) or high != int(high) or abs(low) > LARGEST or abs(high) > LARGEST):
        raise ValueError("expected whole numbers")


def _short(value: float) -> float:
    return float(f"{value:.4g}")


class ProblemSpec(Model):
    """One problem family of an ensemble."""

    name: str = Field(description="a problem (see `l2o problems`), or FILE.py:NAME for one in a file")
    options: dict[str, Any] = Field(
        {},
        description="its sizes and settings, the fields of its class; {log_uniform: [a, b]} and the like are drawn from",
    )
    transforms: tuple[TransformSpec, ...] = Field((), description="transformations around it, the innermost first")
    weight: PositiveFloat = Field(1.0, description="how often it is drawn, relative to the others")
    label: str | None = Field(None, description="its name in the results; default: made from name and options")
    instances: PositiveInt | None = Field(None, description="instances that run together; default: those of the run")
    draws: Annotated[int, Field(ge=1, le=MOST_FAMILIES)] = Field(
        1, description="families drawn from the distributions among the options"
    )
    truncation: Lengths | None = Field(None, description="lengths of its truncations; default: those of the run")
    horizon: Lengths | None = Field(None, description="lengths of its inner runs; default: those of the run")

    def make(self) -> Problem:
        return make_problem(self.name, self.options, [transform.model_dump() for transform in self.transforms])

    @property
    def title(self) -> str:
        """The label, or the name with options and transformations: `quadratic(dimension=20)+rescale(high=2.0)`."""
        if self.label:
            return self.label
        parts = [(self.name, self.options), *((transform.name, transform.options) for transform in self.transforms)]
        return "+".join(part_text(name, options) for name, options in parts)


class EnsembleSpec(Model):
    """All families of a named ensemble, or some of them."""

    ensemble: str = Field(description="see `l2o problems --ensembles`")
    weight: PositiveFloat = Field(1.0, description="how often one of its families is drawn, relative to the other entries")
    only: tuple[str, ...] = Field((), description="patterns of labels that are kept, such as quadratic*; none: all")
    without: tuple[str, ...] = Field((), description="patterns of labels that are left out")
    transforms: tuple[TransformSpec, ...] = Field((), description="transformations around each family")
    instances: PositiveInt | None = Field(None, description="instances of each family; default: as the ensemble says")
    truncation: Lengths | None = Field(None, description="lengths of their truncations; default: as the ensemble says")
    horizon: Lengths | None = Field(None, description="lengths of their inner runs; default: as the ensemble says")

    def families(self) -> list[ProblemSpec]:
        """Its families, whose weights add up to `weight`; BadInput if there is none."""
        if self.ensemble not in ENSEMBLES:
            raise unknown("ensemble", self.ensemble, ENSEMBLES)
        every = [ProblemSpec.model_validate(entry) for entry in ENSEMBLES[self.ensemble].families]
        kept = [entry for entry in every if not self.only or _matches(entry, self.only)]
        kept = [entry for entry in kept if not _matches(entry, self.without)]
        for pattern in (*self.only, *self.without):
            if not any(_matches(entry, [pattern]) for entry in every):
                raise BadInput(f"ensemble {self.ensemble!r} has no family {shown(pattern)}; there are: {every[0].title}, ...")
        if not kept:
            raise BadInput(f"ensemble {self.ensemble!r}: no family is left")
        total = sum(entry.weight for entry in kept)
        return [
            entry.model_copy(
                update={
                    "weight": entry.weight * self.weight / total,
                    "transforms": (*entry.transforms, *self.transforms),
                    "instances": self.instances or entry.instances,
                    "truncation": self.truncation or entry.truncation,
                    "horizon": self.horizon or entry.horizon,
                    "label": entry.title + "".join(f"+{transform.name}" for transform in self.transforms),
                }
            )
            for entry in kept
        ]


def _matches(entry: ProblemSpec, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(entry.title, pattern) for pattern in patterns)


def _drawn(value: Any, rng: np.random.Generator) -> Any:
    """`value` with every distribution in it replaced by a draw."""
    if isinstance(value, Mapping):
        if len(value) == 1 and next(iter(value)) in DISTRIBUTIONS:
            [(kind, arguments)] = value.items()
            try:
                _check_ends(kind, arguments)
                return DISTRIBUTIONS[kind](rng, arguments)
            except (ValueError, OverflowError) as error:
                raise BadInput(f"{{{kind}: {shown(arguments)}}} is not a distribution: {error}") from None
        return {key: _drawn(part, rng) for key, part in value.items()}
    return [_drawn(part, rng) for part in value] if isinstance(value, list) else value


def _families(entry: ProblemSpec, rng: np.random.Generator) -> list[ProblemSpec]:
    """One concrete family, or as many draws as the entry asks for, which share its weight."""
    made = []
    for draw in range(entry.draws):
        update = {
            "options": _drawn(entry.options, rng),
            "transforms": tuple(t.model_copy(update={"options": _drawn(t.options, rng)}) for t in entry.transforms),
            "weight": entry.weight / entry.draws,
            "draws": 1,
        }
        if entry.label and entry.draws > 1:
            update["label"] = f"{entry.label} {draw + 1}"
        made.append(entry.model_copy(update=update))
    return made


def _expanded(entries: Any, info: pydantic.ValidationInfo) -> Any:
    """A list of problems, draws and ensembles as one list of concrete families with titles of their own."""
    if not isinstance(entries, list | tuple):
        return entries
    context = info.context or {}
    families: list[ProblemSpec] = []
    for index, entry in enumerate(entries):
        try:
            if isinstance(entry, str):
                families += parse_problems(entry, context.get("folder", Path()))
                continue
            if isinstance(entry, Mapping) and "ensemble" in entry:
                families += EnsembleSpec.model_validate(entry).families()
                continue
            spec = ProblemSpec.model_validate(entry)
            if "folder" in context and is_file_name(spec.name):
                # Results name it as it was written.
                spec = spec.model_copy(update={"name": located(spec.name, context["folder"]), "label": spec.title})
            families += _families(spec, np.random.default_rng([context.get("seed", 0), index]))
        except pydantic.ValidationError as error:
            place, separator, fault = first_problem(error).partition(": ")
            raise Misplaced(f"{index}.{place}", fault) if separator else Misplaced(str(index), place) from None
        except BadInput as error:
            raise Misplaced(str(index), str(error)) from None
        if len(families) > MOST_FAMILIES:
            raise Misplaced(str(index), f"more than {MOST_FAMILIES:,} families with this entry")
    seen: dict[str, int] = {}
    for index, family in enumerate(families):
        seen[family.title] = seen.get(family.title, 0) + 1
        if seen[family.title] > 1:
            families[index] = family.model_copy(update={"label": f"{family.title} #{seen[family.title]}"})
    return tuple(families)


# A field of a spec: problems, draws and ensembles are written, concrete families are read.
Families = Annotated[tuple[ProblemSpec, ...], BeforeValidator(_expanded)]


def parse_problems(text: str, folder: Path = Path()) -> list[ProblemSpec]:
    """The problem families of a text: an ensemble's name, or `name(option=value, ...)+transformation(...)+...`.

    A relative `FILE.py:NAME` is relative to `folder`.
    """
    if not text.strip():
        raise BadInput("no problem is given")
    if text in ENSEMBLES:
        return EnsembleSpec(ensemble=text).families()
    parts = parse_parts(text, "problem")
    return [ProblemSpec.model_validate({**parts, "name": located(parts["name"], folder), "label": text})]
