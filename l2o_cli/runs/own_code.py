"""What tells a problem that a user brings along from what it was before: all that it imports and opens."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import math
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from l2o_problems import opened
from l2o_problems.from_file import PACKAGES

MOST_FILES = 3000  # below the folder of a problem; with more it would take too long to look at all
BY_CONTENT = 16_000_000  # bytes, above which the time of the last change stands for the content

# What is no input of a problem unless it is seen to be opened: what l2o and others leave there while they run.
_RESULTS = {"spec.yaml", "evaluation.yaml", "compare.yaml", "ablations.csv"}
_SUFFIXES = {".log", ".out", ".err", ".tmp", ".lock", ".md", ".html", ".svg", ".png", ".pdf"}
_ENVIRONMENT = re.compile(r"\b(?:environ|getenv)\b")
# Readers whose files are opened by native code, which no audit event tells of.
_UNSEEN = re.compile(
    r"\b(?:h5py|netCDF4|pyarrow|tensorflow_datasets|gfile|io\.read_file|read_(?:parquet|feather|orc|hdf)"
    r"|(?:TFRecord|TextLine|FixedLengthRecord|Csv)Dataset|\w+_dataset_from_directory)\b"
)
_VARIABLE = re.compile(r"(?:environ\s*(?:\.(?:get|setdefault|pop)\s*\(|\[)|getenv\s*\()\s*[\"'](\w+)[\"']")


class NoIdentity(Exception):
    """Something cannot be told apart from others of its kind by plain values, so runs with it are not kept."""


class Unknowable(NoIdentity):
    """A problem that a user brings along depends on what cannot be known; the message says in one line on what."""


def own_code(cls: type) -> dict[str, Any]:
    """The files that a class of a user's depends on, what else is installed, and the environment variables that it reads.

    Raises:
        Unknowable: it depends on what cannot be known.
    """
    source = inspect.getsourcefile(cls)
    if source is None:
        raise Unknowable(f"the file of {cls.__name__} is not known")
    file = Path(source).resolve()
    watched = opened.folders()
    roots = [folder for folder in watched if file.is_relative_to(folder)] or [file.parent]
    files: dict[str, str] = {}
    for root in roots:
        inputs, unknowable = opened.opened(root)
        if unknowable:
            raise Unknowable(f"the code in {root} {unknowable}")
        for path in {*_below(root), *inputs}:
            files[str(path)] = _content(path, watched.get(root, math.inf))
    return {"files": files, "installed": _installed(), "environment": _variables(files)}


def imported_files() -> dict[str, str]:
    """{file: SHA-256} of the modules of users' own that are imported: the files of problems, and what they import beside them."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(PACKAGES)]
    files = [module.__file__ for module in modules if getattr(module, "__file__", None)]
    return {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files if file}


def _below(root: Path) -> Iterator[Path]:
    count = 0
    streams = {_identity(stream) for stream in (1, 2)}
    for folder, inner, names in os.walk(root):
        if folder != str(root) and ({*_RESULTS, "pyvenv.cfg"} & set(names)):
            inner.clear()
            continue
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in ("__pycache__", "node_modules"))
        for name in names:
            path = Path(folder, name)
            count += 1
            if count > MOST_FILES:
                raise Unknowable(f"more than {MOST_FILES:,} files lie in the folder of its file, {root}")
            if not name.startswith(".") and path.suffix not in _SUFFIXES and _identity(path) not in streams:
                yield path


def _identity(file: Path | int) -> tuple[int, int] | None:
    try:
        info = os.stat(file)
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _content(path: Path, since: float) -> str:
    """What tells the content of a file from any other; Unknowable if it was changed after it may have been read."""
    try:
        info = path.stat()
    except OSError:
        return "absent"
    if not stat.S_ISREG(info.st_mode):
        return "no file"
    if info.st_ctime > since:
        raise Unknowable(f"{path} was changed after the command had begun")
    if info.st_size > BY_CONTENT:
        return f"{info.st_size} {info.st_mtime_ns} {info.st_ctime_ns}"
    return _hash(path, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)


@functools.lru_cache(4 * MOST_FILES)
def _hash(path: Path, *_unchanged: int) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"


@functools.cache
def _installed() -> str:
    """A hash of the names and versions of what is installed, any of which the code may use."""
    found = set()
    for place in sys.path:
        with contextlib.suppress(OSError):
            found |= {name for name in os.listdir(place or ".") if name.endswith((".dist-info", ".egg-info", ".egg-link"))}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def _variables(files: dict[str, str]) -> dict[str, str | None]:
    """The environment variables that the modules among the files read."""
    names: set[str] = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or str(Path(path).resolve()) not in files:
            continue
        try:
            text = Path(path).read_text(errors="replace")
        except OSError:
            continue
        unseen = _UNSEEN.search(text)
        if unseen:
            raise Unknowable(f"{path} reads files by {unseen[0]}, which is not seen")
        found = _VARIABLE.findall(text)
        if len(found) < len(_ENVIRONMENT.findall(text)):
            raise Unknowable(f"{path} reads the environment")
        names.update(found)
    return {name: os.environ.get(name) for name in sorted(names)}
