"""Problems of one's own: `FILE.py:NAME`, the name of a problem, of its class or of a function that returns one."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from problems import opened
from problems.base import Problem


def is_file_name(name: str) -> bool:
    return ".py:" in name


def located(name: str, folder: Path) -> str:
    """`name` with the path of its file made absolute, a relative one being relative to `folder`; other names as they are."""
    if not is_file_name(name):
        return name
    file, _, attribute = name.rpartition(":")
    return f"{(folder / Path(file).expanduser()).resolve()}:{attribute}"


@functools.cache
def _module(path: Path) -> Any:
    # The name must be the same in every process, and importable while the module runs, or dataclasses fail in it.
    name = f"l2o_problem_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    opened.watch(path.parent)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be run: {type(error).__name__}: {message}") from error
    return module


def problem_in_file(name: str) -> Callable[..., Problem]:
    """What makes the problem `FILE.py:NAME`, called with its options.

    Raises:
        OSError: there is no such file.
        ValueError: it cannot be run, or has no such name.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    found = getattr(_module(path), attribute, None)
    if isinstance(found, Problem):
        return lambda: found
    if not callable(found):
        raise ValueError(f"{path} has no problem {attribute!r}")
    return found
