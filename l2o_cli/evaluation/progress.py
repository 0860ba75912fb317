"""Showing what is running: a bar on a terminal, one line per stage elsewhere, both on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Stages:
    """Stages of a long command, one after the other.

    Args:
        quiet: nothing is shown but warnings.
    """

    def __init__(self, quiet: bool = False):
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._quiet = quiet

    @contextmanager
    def stage(self, text: str) -> Iterator[Callable[[float], object]]:
        """Within it, call the yielded function with the share of the stage that was done since the last call."""
        if self._quiet or not self._console.is_terminal:
            if not self._quiet:
                self._console.print(text, markup=False)
            yield lambda share: None
            return
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(text, total=1.0)
            yield lambda share: progress.advance(task, share)

    def tell(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        self._console.print(f"warning: {text}", markup=False)
