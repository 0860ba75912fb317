"""Showing what is running: bars on a terminal, one line per stage elsewhere, both on stderr; and ending it in time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from l2o_cli.terminal import plain_console

Advance = Callable[[float], object]  # takes the share of a stage that was done since the last call


class Stopped(Exception):
    """What was running has been asked to end: its time is up, or there was a signal."""


class Stages:
    """Stages of a long command.

    Args:
        quiet: nothing is shown but warnings.
        until: the value of time.monotonic() at which the work ends.
        stop: asked now and then whether the work is to end.
    """

    def __init__(self, quiet: bool = False, *, until: float = math.inf, stop: Callable[[], bool] = lambda: False):
        self._console = plain_console(stderr=True)
        self._quiet, self._until, self._stop = quiet, until, stop
        self._bars: Progress | None = None
        self._warned: set[str] = set()

    @contextmanager
    def whole(self, work: float) -> Iterator[None]:
        """Within it a bar is shown for all stages together, which add up to `work`."""
        if self._quiet or not self._console.is_terminal:
            yield
            return
        with self._progress() as self._bars:
            self._all = self._bars.add_task("all", total=work)
            try:
                yield
            finally:
                self._bars = None

    @contextmanager
    def stage(self, text: str, work: float = 0.0) -> Iterator[Advance]:
        """Within it, call the yielded function with the share of the stage that was done since the last call.

        Args:
            work: what the stage is of the whole.

        Raises:
            Stopped: by the yielded function, when the work is to end.
        """
        self.check()
        if self._quiet or not self._console.is_terminal:
            if not self._quiet:
                self._console.print(text)
            yield lambda share: self.check()
        elif self._bars is None:
            with self._progress() as bars, self._shown(bars, text, work) as advance:
                yield advance
        else:
            with self._shown(self._bars, text, work) as advance:
                yield advance

    def check(self) -> None:
        """Stopped, if the work is to end."""
        if time.monotonic() >= self._until or self._stop():
            raise Stopped

    def stopped(self) -> None:
        """What was running has ended, as it was asked to: what is done after it may take its time."""
        self._stop()

    def tell(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text)

    def warn(self, text: str) -> None:
        """Shown even if quiet, and once, however often it is said."""
        if text in self._warned:
            return
        self._warned.add(text)
        self._console.print(f"warning: {text}")

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        return Progress(*columns, console=self._console, transient=True)

    @contextmanager
    def _shown(self, bars: Progress, text: str, work: float) -> Iterator[Advance]:
        task = bars.add_task(text, total=1.0)

        def advance(share: float) -> None:
            bars.advance(task, share)
            if bars is self._bars:
                bars.advance(self._all, share * work)
            self.check()

        try:
            yield advance
        finally:
            bars.remove_task(task)
