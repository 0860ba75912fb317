"""`l2o` with all the processes that it starts, so that a test can send signals to them and see whether any is left."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from l2o_cli import signals


class Session:
    """The command in a session of its own, in a fork of this process, which may have imported much already."""

    def __init__(self, folder: Path, *arguments: str):
        self._log, self._code = folder / "log", None
        with signals.held():
            self.first = os.fork()
            if self.first == 0:
                _run(folder, self._log, arguments)

    def exit_code(self) -> int | None:
        """Of the command, negative for a signal; None while it runs."""
        if self._code is None:
            ended, status = os.waitpid(self.first, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None if it still runs after so long."""
        deadline = time.monotonic() + seconds
        while self.exit_code() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        return self._code

    def send(self, number: int) -> None:
        """To all processes of the session."""
        for process in processes_of(self.first):
            _send(process, number)

    def send_to_first(self, number: int) -> None:
        if self._code is None:
            _send(self.first, number)

    def left(self, seconds: float) -> dict[int, str]:
        """The processes that still live after so long; they are killed."""
        deadline = time.monotonic() + seconds
        while (left := processes_of(self.first)) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.send(signal.SIGKILL)
        return left

    def log(self) -> str:
        """The end of what it said."""
        return self._log.read_text()[-2000:]


def processes_of(session: int) -> dict[int, str]:
    """The processes of a session that live, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(own) == session and state != "Z":
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")[-200:]
        except (OSError, ValueError):
            continue
    return found


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _run(folder: Path, log: Path, arguments: tuple[str, ...]) -> None:
    code: object = 70
    try:
        os.setsid()
        os.chdir(folder)
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = ["l2o", *arguments]
        # What runs in the background of a script has inherited an ignored SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from l2o_cli.cli import main

        try:
            main()
        except SystemExit as end:
            code = end.code or 0
            sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else 1)
