"""What is known of how a learned optimizer was meta-trained: from the card of its artifact, and from its own options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.transforms import Transform, layers
from l2o_cli.runs.records import Contender
from l2o_cli.scoring.record import part
from l2o_cli.spec import Lengths

Range = tuple[float, float]  # least and greatest


def initial_rates(optimizer: Optimizer) -> Range | None:
    """The range that its initial learning rates are drawn from in each run; None where it draws none.

    An option `initial_rate` that is one number is where a weight stood before meta-training, which nothing reads any more.
    """
    rates = getattr(layers(optimizer)[0], "initial_rate", None)
    return (float(rates[0]), float(rates[1])) if isinstance(rates, tuple) else None


def with_initial_rate(one: Contender, rate: float) -> Contender:
    """The contender with all its initial learning rates at `rate`; it must draw some."""
    return LoadedOptimizer(one.label, _at_rate(one.optimizer, rate), dict(one.weights), _card(one), one.source)


def _at_rate(optimizer: Optimizer, rate: float) -> Optimizer:
    if isinstance(optimizer, Transform):
        return dataclasses.replace(optimizer, inner=_at_rate(optimizer.inner, rate))
    return dataclasses.replace(optimizer, initial_rate=(rate, rate))  # type: ignore[type-var]


def horizons(one: Contender) -> Range | None:
    """The least and the greatest horizon of its meta-training, in steps; None where no card tells."""
    spec = part(part(_card(one), "meta_training"), "spec")
    found = [end for lengths in _lengths(spec) for end in span(lengths)]
    return (min(found), max(found)) if found else None


def _lengths(spec: Mapping[str, Any]) -> Iterator[Any]:
    """The horizons of the families, those that have none of their own having that of the run."""
    families = spec.get("problems")
    for family in families if isinstance(families, list) and families else [{}]:
        own = family.get("horizon") if isinstance(family, Mapping) else None
        yield own or spec.get("horizon")


def span(lengths: Any) -> tuple[int, ...]:
    """The least and the greatest of lengths as a card has them; nothing where it is of another version."""
    try:
        return Lengths.model_validate(lengths).span
    except pydantic.ValidationError:
        return ()


def training_problems(one: Contender) -> int | None:
    """How many problems it was meta-trained on; None where no card tells."""
    problems = part(_card(one), "meta_training").get("problems")
    return len(problems) if isinstance(problems, list) else None


def _card(one: Contender) -> dict[str, Any]:
    return getattr(one, "card", None) or {}
