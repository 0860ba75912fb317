"""A terminal without the messages that TensorFlow's C++ writes past Python, and with everything else."""

from __future__ import annotations

import atexit
import os
import re
import select
import signal
import sys
import time
from typing import NoReturn

from l2o_cli import signals

# Beginnings of lines that no user can act on. Anything else passes, errors above all.
NOISE = re.compile(
    rb"[IW]\d{4} \d\d:\d\d:\d\d"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|To enable the following instructions: .*rebuild TensorFlow"
    # There is no GPU driver on this machine.
    rb"|E\d{4} .*failed call to cuInit: .*\(303\)"
    # Reading the compilation cache: an entry is tried as text before it is read as what it is, and its code was tuned with
    # two hints that are looked for, in vain, among the CPU's features. Features that really lack have other names.
    rb"|E\d{4} .*Error parsing text-format tensorflow\.XlaSerializedCacheEntry"
    rb"|E\d{4} .*cpu_aot_loader.*Target machine feature \+prefer-no-(scatter|gather) "
)

_UNFINISHED = 0.05  # seconds after which a line without an end (a progress bar, a prompt) is shown as far as it is


def install() -> None:
    """Drop `NOISE` from what native code writes to file descriptor 2; Python's `sys.stderr` keeps the terminal itself.

    The filter is a child process, so that the last words of a crash get through. Where there is no `fork`, or stderr is not
    file descriptor 2 (captured, closed), nothing is done.
    """
    try:
        if sys.stderr.fileno() != 2 or not hasattr(os, "fork"):
            return
        terminal = os.dup(2)
    except (AttributeError, OSError, ValueError):
        return
    sys.stderr.flush()
    source, sink = os.pipe()
    with signals.held():
        child = os.fork()
        if child == 0:
            _serve(source, terminal)
    os.dup2(sink, 2)
    os.close(source)
    os.close(sink)
    old = sys.stderr
    direct = open(terminal, "w", buffering=1, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = direct  # type: ignore[misc]
    atexit.register(_finish, os.getpid(), child, terminal)


def _finish(owner: int, child: int, terminal: int) -> None:
    """Let the filter write what it holds before this process is gone; a second at most, for others may still hold the pipe."""
    if os.getpid() != owner:
        return
    os.dup2(terminal, 2)
    deadline = time.monotonic() + 1
    try:
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.002)
    except ChildProcessError:
        pass


def _serve(source: int, terminal: int) -> NoReturn:
    """The filter process: lives until nobody holds the other end of `source`."""
    try:
        # Signals to the group are meant for the parent, whose end ends this.
        signals.ignore()
        for number in (signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        # Whoever waits for the end of the parent's output must not have to wait for this process.
        low, high = sorted((source, terminal))
        for first, last in ((0, low), (low + 1, high), (high + 1, os.sysconf("SC_OPEN_MAX"))):
            os.closerange(first, last)
        copy_without_noise(source, terminal)
    finally:
        os._exit(0)


def copy_without_noise(source: int, destination: int) -> None:
    """Copy lines as they come, less those that begin with `NOISE`, until `source` ends."""
    line = b""  # the last line, unfinished
    shown = False  # whether its beginning is out already
    while True:
        wait = _UNFINISHED if line and (shown or not NOISE.match(line)) else None
        ready = bool(select.select([source], [], [], wait)[0])
        chunk = os.read(source, 65536) if ready else b""
        ended = ready and not chunk
        *whole, line = (line + chunk).split(b"\n")
        for finished in whole:
            if shown or not NOISE.match(finished):
                _write(destination, finished + b"\n")
            shown = False
        if line and (ended or not ready) and (shown or not NOISE.match(line)):
            _write(destination, line)
            line, shown = b"", True
        if ended:
            return


def _write(destination: int, data: bytes) -> None:
    while data:
        data = data[os.write(destination, data) :]
