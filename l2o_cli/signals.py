"""Stopping a long run cleanly when the user or the cluster asks for it."""

from __future__ import annotations

import signal
from types import FrameType


class StopOnSignal:
    """While active, SIGINT and SIGTERM set a flag that the run asks for; a second one interrupts at once.

    `code` is the exit code that shells expect of a process ended by that signal (130 or 143).
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._former: dict[int, object] = {}

    def __enter__(self) -> StopOnSignal:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __call__(self) -> bool:
        return self._received is not None

    @property
    def code(self) -> int:
        return 128 + (self._received or signal.SIGINT)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            raise KeyboardInterrupt
        self._received = number
