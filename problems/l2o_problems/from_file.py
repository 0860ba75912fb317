"""Problems of one's own: `FILE.py:NAME`, the name of a problem, of its class or of a function that returns one.

Such a file imports what lies beside it, modules and packages, as if it were run from its folder. They are kept apart from all
other modules: as modules of a package that is named after the folder, so that equally named ones in two folders are two, and
none is taken for a module that something else imports.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from l2o_problems import opened
from l2o_problems.base import Problem

PACKAGES = "l2o_problems_"  # how the names of the packages begin
_LONGEST = 150  # characters of the message of an exception


def problem_in_file(name: str) -> Callable[..., Problem]:
    """What makes the problem `FILE.py:NAME`, called with its options.

    Raises:
        OSError: there is no such file.
        ValueError: it has no such name.
        Exception, SystemExit: whatever the file raises.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError("there is no file of that name")
    found = getattr(_module(path), attribute, None)
    if isinstance(found, Problem):
        return lambda: found
    if not callable(found):
        raise ValueError(f"{path} has no problem {attribute!r}")
    return found


def place(error: BaseException, name: str) -> str:
    """Where in the file of the problem `name`, or beside it, an exception came from: `line 3`, `data.py, line 8`, or nothing."""
    path = Path(name.rpartition(":")[0]).expanduser().resolve()
    frames = traceback.walk_tb(error.__traceback__)
    own = [(frame.f_code.co_filename, line) for frame, line in frames if frame.f_globals.get("__name__", "").startswith(PACKAGES)]
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        own.append((error.filename, error.lineno))
    if not own:
        return ""
    file, line = Path(own[-1][0]), own[-1][1]
    beside = file != path and file.is_relative_to(path.parent)
    return f"{file.relative_to(path.parent)}, line {line}" if beside else f"line {line}"


def said(error: BaseException) -> str:
    """What an exception says, in one line: `KeyError: 'x'`."""
    lines = [line.strip() for line in str(getattr(error, "msg", None) or error).splitlines()]
    message = next((line for line in lines if line and line != "Graph execution error:"), "")
    message = message if len(message) <= _LONGEST else message[: _LONGEST - 3] + "..."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


@functools.cache
def _module(path: Path) -> Any:
    package = _package(path.parent)
    before = set(sys.modules)
    # The name is the same in every process, and importable while the module runs, or dataclasses fail in it.
    name = f"{package}.{path.stem.replace('.', '_')}"
    if name in sys.modules:  # imported by another file beside it
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    opened.watch(path.parent)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for new in set(sys.modules) - before:
            if new.startswith(f"{package}."):
                del sys.modules[new]
        raise
    return module


def _package(folder: Path) -> str:
    """The name of the package that stands for a folder, which is made if need be."""
    name = PACKAGES + hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    if name not in sys.modules:
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
    return name


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of those packages."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None or not fullname.startswith(PACKAGES):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs a module that imports what lies in its folder, at its top and in functions that are called later."""

    def exec_module(self, module: types.ModuleType) -> None:
        package = self.name.partition(".")[0]
        own = {"__import__": functools.partial(_import, package), "print": _print}
        module.__dict__["__builtins__"] = {**vars(builtins), **own}
        super().exec_module(module)


def _print(*values: Any, file: Any = None, **options: Any) -> None:
    """Python's `print`, but to stderr: on stdout are results, which a program may read."""
    print(*values, file=sys.stderr if file is None else file, **options)


def _import(
    package: str,
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> types.ModuleType:
    """Python's `__import__` for a module of `package`."""
    first = name.partition(".")[0]
    if level or not _lies_beside(package, first):
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    found = importlib.import_module(f"{package}.{name}")
    if fromlist:
        return builtins.__import__(f"{package}.{name}", globals, locals, fromlist, 0)
    return found if first == name else sys.modules[f"{package}.{first}"]


def _lies_beside(package: str, name: str) -> bool:
    """Whether `name` is a module of the folder: not if it is one of Python's, or one that is imported already."""
    if name in sys.stdlib_module_names or name in sys.modules:
        return False
    spec = importlib.machinery.PathFinder.find_spec(f"{package}.{name}", sys.modules[package].__path__)
    # A folder without __init__.py is a package only where nothing else has its name.
    return spec is not None and (spec.loader is not None or importlib.util.find_spec(name) is None)
