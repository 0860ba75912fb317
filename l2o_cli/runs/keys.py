"""The key of a run: a hash of everything that its losses and its timing depend on.

That is the problem and its data, the optimizer with its weights and hyperparameters, seed, steps and window, how many runs went
together (sums may be rounded otherwise in another batch), the code that computes it, the versions of what that is built on, the
processor, and what steers the numerics of all that from outside.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import l2o_problems
import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem

import l2o_cli
from l2o_cli import devices, graph, runtime
from l2o_cli.runs.own_code import NoIdentity, own_code
from l2o_cli.runs.records import Contender
from l2o_cli.spec import OptimizerSpec

FORMAT = 2  # of a key and of a stored run

# What computes a run, under the packages l2o_cli and problems.
_COMPUTING = ("carry.py", "rollout.py", "graph.py", "lean_graphs.py", "runtime.py", "devices.py", "optimizers", "runs")


def base_key(problem: Problem, contender: Contender, steps: int, **others: Any) -> dict[str, Any]:
    """What all runs of an optimizer on a problem depend on, as plain values, but for the `identity` of the problem.

    Args:
        others: plain values that the runs depend on besides.
    """
    return {
        "format": FORMAT,
        "code": code_fingerprint(),
        "environment": runtime.environment(),
        "processor": runtime.processor(),
        "numerics": numerics(),
        "data": problem.source,
        "optimizer": OptimizerSpec.of(contender.optimizer.over(steps)).plain,
        "weights": weights_digest(contender.weights),
        "steps": steps,
        **others,
    }


def digest(key: Mapping[str, Any]) -> str:
    """The hash of plain values, in whatever order they come."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def identity(value: Any) -> Any:
    """A problem, or an option of one, as plain values that tell it from every other; NoIdentity where that cannot be done."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [identity(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): identity(part) for key, part in value.items()}
    if isinstance(value, Problem) and dataclasses.is_dataclass(value):
        cls = type(value)
        own = cls.__module__.split(".")[0] != l2o_problems.__name__
        return {
            "class": f"{cls.__module__}.{cls.__qualname__}",
            "own code": own_code(cls) if own else None,
            "options": {field.name: identity(getattr(value, field.name)) for field in dataclasses.fields(value)},
            "data": value.data_identity,
        }
    raise NoIdentity(f"{type(value).__name__} has no plain values")


def numerics() -> dict[str, Any]:
    """What steers the numerics of TensorFlow, XLA, oneDNN and Keras, besides their versions."""
    gpu = devices.gpu()  # not those beside it: a worker process sees but its own
    return {
        "variables": runtime.steering(),
        "graphs": graph.kind(),
        "threads": [
            tf.config.threading.get_intra_op_parallelism_threads(),
            tf.config.threading.get_inter_op_parallelism_threads(),
        ],
        "GPUs": [gpu] if gpu else [],
        "keras": [keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()],
    }


@functools.cache
def code_fingerprint() -> str:
    """A hash of the code that makes runs, and of the data that come with it."""
    package, others = Path(l2o_cli.__file__).parent, Path(l2o_problems.__file__).parent
    computing = (file for part in _COMPUTING for file in _files(package / part))
    return _digest_files(package, computing) + _digest_files(others, _files(others))


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]  # an error rather than nothing if it is not there
    return [file for file in place.rglob("*") if file.suffix in (".py", ".npz", ".gz", ".txt") and file.is_file()]


def _digest_files(root: Path, files: Any) -> str:
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(file.relative_to(root).as_posix().encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def weights_digest(weights: Mapping[str, Any]) -> str:
    """A hash of the names, shapes and bits of weights."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name])
        total.update(f"{name} {value.dtype} {value.shape}".encode())
        total.update(value.tobytes())
    return total.hexdigest()
