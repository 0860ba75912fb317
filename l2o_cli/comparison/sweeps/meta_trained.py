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
    spec = _section(_card(one), "meta_training", "spec")
    known = [_span(lengths) for lengths in _lengths(spec)]
    found = [span for span in known if span is not None]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def _lengths(spec: Mapping[str, Any]) -> Iterator[Any]:
    """The horizons of the families, those that have none of their own having that of the run."""
    families = spec.get("problems")
    for family in families if isinstance(families, list) and families else [{}]:
        own = family.get("horizon") if isinstance(family, Mapping) else None
        yield own or spec.get("horizon")


def _span(lengths: Any) -> Range | None:
    try:
        return Lengths.model_validate(lengths).span
    except pydantic.ValidationError:
        return None  # a card of another version


def training_problems(one: Contender) -> int | None:
    """How many problems it was meta-trained on; None where no card tells."""
    problems = _section(_card(one), "meta_training").get("problems")
    return len(problems) if isinstance(problems, list) else None


def _card(one: Contender) -> dict[str, Any] | None:
    return getattr(one, "card", None)


def _section(card: Mapping[str, Any] | None, *path: str) -> Mapping[str, Any]:
    """The nested section of a card, whose content is free; {} if it has none."""
    content: Any = card or {}
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content if isinstance(content, Mapping) else {}
