"""Problems in a spec or on the command line: one, a draw from distributions, or a named ensemble, filtered and weighted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
from l2o_problems.ensembles import ENSEMBLES
from l2o_problems.file_names import is_file_name, located
from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from l2o_cli.errors import BadInput, shown
from l2o_cli.spec.faults import first_problem, unknown
from l2o_cli.spec.lengths import Lengths
from l2o_cli.spec.model import Besides, Model, TransformSpec
from l2o_cli.spec.strict import Misplaced
from l2o_cli.spec.text import matches, parse_parts, part_text

if TYPE_CHECKING:
    from l2o_problems.base import Problem

MOST_FAMILIES = 10_000  # of an ensemble; each is a problem that is checked before the first run begins


class ProblemSpec(Model):
    """One problem family of an ensemble."""

    shorthand = " or text"

    name: str = Field(description="a problem (see `l2o problems`), or FILE.py:NAME for one in a file", examples=["digits_mlp"])
    options: dict[str, Any] = Field(
        {},
        description="its sizes and settings; `l2o problems NAME` lists them. {uniform: [a, b]}, log_uniform, integer, log_integer"
        " and {choice: [...]} in place of a value are drawn from",
    )
    transforms: tuple[TransformSpec, ...] = Field((), description="transformations around it, the innermost first")
    weight: PositiveFloat = Field(1.0, description="in meta-training: how often it is drawn, relative to the others")
    label: str | None = Field(None, description="its name in the results; null: made from name and options")
    instances: PositiveInt | None = Field(
        None, description="in meta-training: instances that run together; null: those of the run"
    )
    draws: Annotated[int, Field(ge=1, le=MOST_FAMILIES)] = Field(
        1, description="families drawn from the distributions among the options"
    )
    truncation: Lengths | None = Field(None, description="in meta-training: lengths of its truncations; null: those of the run")
    horizon: Lengths | None = Field(None, description="in meta-training: lengths of its inner runs; null: those of the run")

    def make(self) -> Problem:
        from l2o_cli.spec.names import make_problem

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

    ensemble: str = Field(description="all families of this one; see `l2o problems --ensembles`", examples=list(ENSEMBLES))
    weight: PositiveFloat = Field(
        1.0, description="in meta-training: how often one of its families is drawn, relative to the other entries"
    )
    only: tuple[str, ...] = Field((), description="patterns of labels that are kept, such as quadratic*; none: all")
    without: tuple[str, ...] = Field((), description="patterns of labels that are left out")
    transforms: tuple[TransformSpec, ...] = Field((), description="transformations around each family")
    instances: PositiveInt | None = Field(
        None, description="in meta-training: instances of each family; null: as the ensemble says"
    )
    truncation: Lengths | None = Field(
        None, description="in meta-training: lengths of their truncations; null: as the ensemble says"
    )
    horizon: Lengths | None = Field(None, description="in meta-training: lengths of their inner runs; null: as the ensemble says")

    def families(self) -> list[ProblemSpec]:
        """Its families, whose weights add up to `weight`; BadInput if there is none."""
        if self.ensemble not in ENSEMBLES:
            raise unknown("ensemble", self.ensemble, ENSEMBLES)
        every = [ProblemSpec.model_validate(entry) for entry in ENSEMBLES[self.ensemble].families]
        kept = [entry for entry in every if matches(entry.title, self.only or "*") and not matches(entry.title, self.without)]
        for pattern in (*self.only, *self.without):
            if not any(matches(entry.title, [pattern]) for entry in every):
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


def _expanded(entries: Any, info: pydantic.ValidationInfo) -> Any:
    """A list of problems, draws and ensembles as one list of concrete families with titles of their own."""
    if not isinstance(entries, list | tuple):
        return entries
    from l2o_cli.spec.draws import drawn_families

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
            families += drawn_families(spec, (context.get("seed", 0), index))
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
Families = Annotated[tuple[ProblemSpec, ...], BeforeValidator(_expanded), Besides((EnsembleSpec,))]


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
