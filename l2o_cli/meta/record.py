"""What a run says of itself: versions, data sources, and what it was trained on."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

import l2o_cli
from l2o_cli.spec import MetaTraining


def with_record(spec: MetaTraining) -> MetaTraining:
    """The spec with the versions and data sources it is run with."""
    problems = (*spec.problems, *spec.validation.problems)
    record = {
        "l2o": l2o_cli.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
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
