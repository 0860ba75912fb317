"""What a run says of itself: versions, data sources, and what it was trained on."""

from __future__ import annotations

from typing import Any

from l2o_cli.environment import environment
from l2o_cli.spec import MetaTraining


def with_record(spec: MetaTraining, config: str | None) -> MetaTraining:
    """The spec with the versions and data sources it is run with, and what it was read from, if that is known."""
    problems = (*spec.problems, *spec.validation.problems)
    record = {
        **({"config": config} if config else {}),
        **environment(),
        "data": {entry.title: entry.make().source for entry in problems},
    }
    return spec.model_copy(update={"record": record})


def account(spec: MetaTraining) -> dict[str, Any]:
    """What a card says of the spec."""
    return {
        "problems": [entry.title for entry in spec.problems],
        "validation_problems": [entry.title for entry in spec.validation.problems],
        "seed": spec.seed,
        "record": spec.record,
        "spec": spec.model_dump(mode="json", exclude={"record"}),
    }
