"""What is written of the records of a run: rows of its tables, and TensorBoard events."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_cli.errors import Failure, warn
from l2o_cli.files import cause, remove_leftovers, sync, write_csv
from l2o_cli.meta.meta_step import Rows, UpdateRecord, ValidationRecord


class Table:
    """A CSV file that grows by rows and can be cut back to what a checkpoint knows."""

    def __init__(self, path: Path, columns: Iterable[str]):
        self._path, self._columns = path, tuple(columns)

    def cut(self, meta_step: int) -> None:
        """Keep the whole rows up to `meta_step`; begin the file if there is none."""
        remove_leftovers(self._path)
        kept: list[list[str]] = []
        if self._path.exists():
            with self._path.open(newline="", errors="replace") as file:
                # A killed process may leave half a row at the end, a loss of power anything.
                rows = (row for row in csv.DictReader(file) if None not in row.values() and None not in row)
                rows = (row for row in rows if row["meta_step"].isdecimal() and int(row["meta_step"]) <= meta_step)
                kept = [[row.get(name, "") for name in self._columns] for row in rows]
        write_csv(self._path, self._columns, kept)

    def append(self, rows: Rows) -> None:
        """Add rows at the end; Failure, naming the file, if they cannot be written."""
        try:
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns, extrasaction="ignore", lineterminator="\n").writerows(rows)
        except OSError as error:
            raise Failure(f"{self._path}: cannot be written: {cause(error)}") from None

    def sync(self) -> None:
        """Have all rows on the disk itself."""
        if self._path.exists():
            sync(self._path)


class Events:
    """TensorBoard events. A run can do without them: should they fail to be written, that is said once.

    Args:
        every: meta-steps between two histograms of the meta-gradients.
    """

    def __init__(self, folder: Path, every: int):
        self._folder, self._every = folder, every
        self._writer: Any = None  # TensorFlow's, made at the first event
        self._given_up = False

    def write(self, record: UpdateRecord | ValidationRecord) -> None:
        scalars, histograms = record.events()
        if isinstance(record, UpdateRecord) and record.meta_step % self._every:
            histograms = {}
        self.write_values(record.meta_step, scalars, histograms)

    def write_values(self, meta_step: int, scalars: Mapping[str, float], histograms: Mapping[str, np.ndarray]) -> None:
        if self._given_up:
            return
        with self._tolerance():
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self._folder), flush_millis=10_000)
            # TensorFlow keeps a tensor of every Python number that it has ever converted, but not of numpy's.
            with self._writer.as_default(step=np.int64(meta_step)):
                # One operation for all of them: tf.summary.scalar takes a millisecond for each.
                values = [tf.compat.v1.Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
                tf.summary.experimental.write_raw_pb(tf.compat.v1.Summary(value=values).SerializeToString())
                for name, entries in histograms.items():
                    tf.summary.histogram(name, entries)

    def close(self) -> None:
        """Have all of them in the file; there may be more."""
        with self._tolerance():
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    @contextlib.contextmanager
    def _tolerance(self) -> Iterator[None]:
        """Within it a failure to write is a warning, and the end of the events."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            self._given_up, self._writer = True, None
            warn(f"{self._folder}: no more TensorBoard events: {cause(error)}")
