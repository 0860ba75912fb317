"""What the code in a folder opens while it runs, recorded as it happens: a problem of one's own depends on it."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import sys
import sysconfig
import time
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

# What an audit event means whose outcome nobody can know beforehand.
_UNKNOWABLE = {
    "socket.connect": "uses the network",
    "socket.getaddrinfo": "uses the network",
    "subprocess.Popen": "runs another program",
    "os.system": "runs another program",
    "os.posix_spawn": "runs another program",
}
_SYSTEM = ("/proc/", "/sys/", "/dev/")

_since: dict[str, float] = {}  # by folder, with a separator at its end: when the watch began, in seconds since 1970
_files: dict[str, set[str]] = {}
_unknowable: dict[str, str] = {}


def _of_python() -> tuple[str, ...]:
    """Where Python's own modules lie, and this package."""
    paths = [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")] + [str(Path(__file__).parent)]
    return tuple({os.path.realpath(path) + os.sep for path in paths} | {path + os.sep for path in paths})


_PYTHON = _of_python()
_PACKAGES = re.compile(r"[/\\](site|dist)-packages[/\\]")


def is_installed(file: str) -> bool:
    """Whether it belongs to Python, to this package or to an installed one: then it is known by a version."""
    return file.startswith(_PYTHON) or _PACKAGES.search(file) is not None


def watch(folder: Path) -> None:
    """Record from now on what is opened by code whose files lie below the folder."""
    if not _files:
        on = [True]  # there is no getting rid of a hook, and at the end of the process not all is there that it needs

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if on:
                _hook(event, arguments)

        sys.addaudithook(hook)
        atexit.register(on.clear)
    _files.setdefault(f"{folder}{os.sep}", set())
    _since.setdefault(f"{folder}{os.sep}", time.time())


def folders() -> dict[Path, float]:
    """Those that are watched, and since when, in seconds since 1970."""
    return {Path(folder): since for folder, since in _since.items()}


def opened(folder: Path) -> tuple[list[Path], str | None]:
    """The files that code below a watched folder has opened so far to read them, and what else it did that cannot be known."""
    name = f"{folder}{os.sep}"
    return sorted(map(Path, _files.get(name, ()))), _unknowable.get(name)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _files is None:  # the interpreter is ending and has taken the names of this module away
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes | os.PathLike) and not (isinstance(flags, int) and flags & os.O_WRONLY):
            _record(os.path.abspath(os.fsdecode(path)))
    elif event == "sqlite3.connect":
        if isinstance(arguments[0], str | bytes | os.PathLike) and arguments[0] != ":memory:":
            _record(os.path.abspath(os.fsdecode(arguments[0])))
    elif event in _UNKNOWABLE:
        for folder in _by_whom():
            _unknowable.setdefault(folder, _UNKNOWABLE[event])


def _record(file: str) -> None:
    if file.startswith(_SYSTEM) or is_installed(file):
        return
    for folder in _by_whom():
        if file.endswith(".pyc"):
            with contextlib.suppress(ValueError):  # it lies beside its source
                file = source_from_cache(file)
        _files[folder].add(file)


def _by_whom() -> set[str]:
    """The folders whose code is being run in this thread."""
    found = set()
    frame = sys._getframe()
    while frame is not None:
        file = frame.f_code.co_filename
        found |= {folder for folder in _files if file.startswith(folder) and not is_installed(file)}
        frame = frame.f_back  # type: ignore[assignment]
    return found
