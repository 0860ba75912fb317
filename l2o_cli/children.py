"""Python processes of our own: they import what this one imports, nothing of the current folder, and end when it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from l2o_cli import signals

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def begin(statement: str, arguments: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[bytes]:
    """A process that runs a statement of Python, with a pipe from this one as its standard input.

    The statement should begin with what takes signals, which wait until then, and come to `end_with_parent`.

    Args:
        arguments: its sys.argv[1:].
        options: of subprocess.Popen.
    """
    # Neither -c nor -m may put the current folder in front: a types.py there would be taken for Python's.
    path = [entry for entry in sys.path if entry]
    code = f"import sys; sys.path[:] = {path!r}; {statement}"
    with signals.held():
        return subprocess.Popen([sys.executable, "-P", "-c", code, *arguments], stdin=subprocess.PIPE, **options)


def end_with_parent() -> None:
    """Have this process killed when the one that began it ends, however it ends: its standard input is then at its end.

    Linux is asked to do it besides, where native code might keep a thread of Python's waiting.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_at_the_end_of, args=(sys.stdin.fileno(),), daemon=True, name="parent").start()


def _end_at_the_end_of(source: int) -> None:
    while os.read(source, 4096):
        pass
    os._exit(1)
