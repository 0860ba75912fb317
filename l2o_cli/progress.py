"""What meta-training shows while it goes on: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import deque

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from l2o_cli.terminal import plain_console

PLAIN_INTERVAL = 60.0  # seconds between plain lines


class MetaTrainingProgress:
    """Shows meta-training on stderr; use as a context manager and call it after each meta-step."""

    def __init__(self, done: int, total: int):
        self._done, self._total = done, total
        self._console = plain_console(stderr=True)
        self._bar = Progress(
            BarColumn(bar_width=10),
            # On a narrow terminal it is the note that is cut off.
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=2 * len(str(total)) + 1)),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
            console=self._console,
        )
        self._live = self._console.is_terminal
        self._meta_loss: float | None = None
        self._validation = ""
        self._compiled = 0.0  # seconds
        self._recent: deque[tuple[float, int]] = deque(maxlen=50)  # (seconds, inner steps) of the last meta-steps
        self._told = time.monotonic()

    def __enter__(self) -> MetaTrainingProgress:
        if self._live:
            self._task = self._bar.add_task("", total=self._total, completed=self._done, note="compiling")
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._bar.stop()

    def __call__(self, record) -> None:
        """Take in the `MetaStepRecord` of one meta-step."""
        update, validation = record.update, record.validation
        for warning in record.warnings:
            self._console.print(f"l2o: warning: {warning}")
        # Running means over about twenty meta-steps; families differ too much for single values to be read.
        keep = 0.95 if self._meta_loss is not None and math.isfinite(self._meta_loss) else 0.0
        self._meta_loss = keep * (self._meta_loss or 0.0) + (1 - keep) * update.meta_loss
        self._recent.append((update.seconds, update.inner_steps))
        # Medians: the first meta-steps of each family compile, and say nothing about the time left.
        rate = statistics.median(steps / seconds for seconds, steps in self._recent)
        if validation is not None:
            self._validation = f"  validation {validation.score:.4g}" + (" (best)" if validation.best else "")
        self._compiled += max(family.compile_seconds for family in update.families)
        note = f"meta-loss {self._meta_loss:.4g}  {rate:,.0f} inner steps/s{self._validation}"
        if (workers := update.workers) is not None:
            lost = f", {workers.lost} lost" if workers.lost else ""
            note += f"  {workers.count} workers{lost}, waiting {workers.waiting:.0%}"
        if validation is not None and validation.rolled_back:
            print(f"meta-step {update.meta_step}: back to the best weights, with new instances", file=sys.stderr, flush=True)
        if self._live:
            note += f"  compiled in {self._compiled:.0f} s"
            self._bar.update(self._task, completed=update.meta_step, note=note)
            return
        now = time.monotonic()
        last = update.meta_step == self._total
        if last or now - self._told >= PLAIN_INTERVAL:
            self._told = now
            left = statistics.median(seconds for seconds, _ in self._recent) * (self._total - update.meta_step)
            line = f"meta-step {update.meta_step}/{self._total}  {note}  {_clock(left)} left"
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"
