"""Finished runs, kept on disk under what they depend on, so that none is made twice.

The key of a run is a hash of everything that its losses and its timing depend on: the problem and its data, the optimizer with
its weights and hyperparameters, seed, steps and window, how many runs went together (sums may be rounded otherwise in another
batch), the code that computes it, the versions of what that is built on, and the processor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import l2o_cli
import problems
from l2o_cli import runtime
from l2o_cli.environment import environment
from l2o_cli.evaluation.runs.records import Contender
from l2o_cli.files import write_atomically
from l2o_cli.spec import OptimizerSpec
from problems.base import Problem

FORMAT = 1  # of a stored run
FOLDER = "L2O_RUNS"  # the environment variable with the folder of the store, or "off"

# What computes a run, under the packages l2o_cli and problems.
_COMPUTING = ("rollout.py", "graph.py", "runtime.py", "optimizers", "evaluation/runs")


class NoIdentity(Exception):
    """Something cannot be told apart from others of its kind by plain values, so runs with it are not kept."""


class RunStore:
    """A folder of finished runs: one file for each, named by its key."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.found = self.made = 0  # runs that were asked for, by whether they were here

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"

    def has(self, key: str) -> bool:
        return self.path(key).is_file()

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays kept under a key; None where there are none, or where the file is damaged."""
        try:
            with np.load(self.path(key), allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, key: str, arrays: Mapping[str, Any]) -> None:
        """Keep arrays under a key; Failure if they cannot be written."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        named: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
        np.savez(content, **named)
        write_atomically(path, content.getvalue())


def store_folder() -> Path | None:
    """Where a user's runs are kept: $L2O_RUNS, or `runs` in the cache of l2o; None if either is off."""
    chosen = os.environ.get(FOLDER, "")
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen).expanduser().absolute()
    root = runtime.cache_root()
    return None if root is None else root / "runs"


def user_store() -> RunStore | None:
    """The user's store; None where runs are not kept, or where its folder cannot be written to."""
    folder = store_folder()
    if folder is None:
        return None
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return RunStore(folder) if os.access(folder, os.W_OK) else None


def base_key(problem: Problem, contender: Contender, steps: int, **others: Any) -> dict[str, Any] | None:
    """What all runs of an optimizer on a problem depend on, as plain values; None if it cannot be told.

    Args:
        others: plain values that the runs depend on besides.
    """
    try:
        described = identity(problem)
    except NoIdentity:
        return None
    return {
        "format": FORMAT,
        "code": code_fingerprint(),
        "environment": environment(),
        "processor": runtime.processor(),
        "problem": described,
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
        fields = {field.name: identity(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": f"{cls.__module__}.{cls.__qualname__}", "own code": _own_code(cls), "options": fields}
    raise NoIdentity(type(value).__name__)


def _own_code(cls: type) -> str | None:
    """Of a problem that a user brings along, a hash of the Python files in the folder of its own; None for one of l2o."""
    if cls.__module__.split(".")[0] == problems.__name__:
        return None
    file = inspect.getsourcefile(cls)
    if file is None:
        raise NoIdentity(cls.__name__)
    return _digest_files(Path(file).parent, Path(file).parent.glob("*.py"))


@functools.cache
def code_fingerprint() -> str:
    """A hash of the code that makes runs, and of the data that come with it."""
    package, others = Path(l2o_cli.__file__).parent, Path(problems.__file__).parent
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
