"""The files of a meta-training run: resolved spec, tables, checkpoints, TensorBoard events."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_cli.errors import BadInput, Failure, warn
from l2o_cli.files import locked, remove_leftovers, sync, write_atomically
from l2o_cli.meta.checkpoints import Checkpoints, cause
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.spec import MetaTraining, read_meta_training, to_yaml

METRICS = (
    "meta_step",  # updates of the weights, this one included
    "problem",
    "truncation",  # inner steps
    "meta_loss",
    "gradient_norm",  # of this family's meta-gradient, before clipping
    "nonfinite_entries",  # of it, set to 0
    "diverged",  # instances frozen at the end of the truncation
    "replaced",  # instances drawn anew after it
    "mean_norm",  # of the combined meta-gradient that was applied
    "skipped",  # 1 where it was zero or not finite, and nothing moved, else 0
    "learning_rate",
    "inner_steps",  # over all instances
    "seconds",  # of the whole meta-step
    "compile_seconds",  # of them, of the family's first truncation in this process, which compiles; else 0
)
DIAGNOSTIC = "estimator_{}"  # columns of the estimator's own follow those
HORIZONS = ("meta_step", "problem", "horizon")  # of each instance that was started, in inner steps
VALIDATION = (
    "meta_step",
    "problem",
    "objective",
    "final_ratio",
    "diverged",
    "rolled_back",  # 1 where the run then went back to its best weights, else 0
)


LOCK = ".lock"


def _is_free(path: Path) -> bool:
    """Whether there is nothing at `path`, or a folder without content."""
    return not path.exists() or (path.is_dir() and all(entry.name == LOCK for entry in path.iterdir()))


class Table:
    """A CSV file that grows by rows and can be cut back to what a checkpoint knows."""

    def __init__(self, path: Path, columns: Iterable[str]):
        self._path, self._columns = path, tuple(columns)

    def cut(self, meta_step: int) -> None:
        """Keep the whole rows up to `meta_step`; begin the file if there is none."""
        remove_leftovers(self._path)
        rows: list[dict[str, str]] = []
        if self._path.exists():
            with self._path.open(newline="", errors="replace") as file:
                # A killed process may leave half a row at the end, a loss of power anything.
                rows = [row for row in csv.DictReader(file) if None not in row.values() and None not in row]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows if row["meta_step"].isdecimal() and int(row["meta_step"]) <= meta_step)
        write_atomically(self._path, text.getvalue())

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows at the end; Failure, naming the file, if they cannot be written."""
        try:
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, self._columns, lineterminator="\n").writerows(rows)
        except OSError as error:
            raise Failure(f"{self._path}: cannot be written: {cause(error)}") from None

    def sync(self) -> None:
        """Have all rows on the disk itself."""
        if self._path.exists():
            sync(self._path)


class RunDirectory:
    """What one run writes; made for a new run, or taken up again."""

    def __init__(self, path: Path, spec: MetaTraining):
        self.path = path
        diagnostics = [DIAGNOSTIC.format(name) for name in ESTIMATORS[spec.estimator.name].diagnostics]
        self.metrics = Table(path / "metrics.csv", [*METRICS, *diagnostics])
        self.validation = Table(path / "validation.csv", VALIDATION)
        self.horizons = Table(path / "horizons.csv", HORIZONS)
        self.artifact = path / "artifact"
        self._checkpoints = Checkpoints(path / "checkpoints")
        self._events_folder = path / "events"
        self._events: Any = None  # TensorFlow's writer, made at the first event
        self._eventless = False  # because they cannot be written

    @classmethod
    def create(cls, path: Path, spec: MetaTraining) -> RunDirectory:
        """A new directory, or an empty one; BadInput if it is in use."""
        remove_leftovers(path / "spec.yaml")
        if not _is_free(path):
            raise BadInput(f"{path}: already used; choose another --out, or go on in it with --resume")
        path.mkdir(parents=True, exist_ok=True)
        with locked(path / LOCK) as alone:  # of two that begin at once only one gets it
            if not alone or not _is_free(path):
                raise BadInput(f"{path}: another process begins here; choose another --out")
            write_atomically(path / "spec.yaml", to_yaml(spec))
        return cls(path, spec)

    @classmethod
    def reopen(cls, path: Path, requested: MetaTraining | None) -> tuple[RunDirectory, MetaTraining]:
        """The directory of a run and its spec; BadInput if what is requested is another run."""
        if not (path / "spec.yaml").exists():
            raise BadInput(f"{path}: nothing to resume, there is no spec.yaml")
        spec = read_meta_training(path / "spec.yaml")
        if requested is not None:
            for field in type(spec).model_fields:
                if field not in ("record", "meta_steps") and getattr(spec, field) != getattr(requested, field):
                    raise BadInput(f"{path / 'spec.yaml'}: {field} differs from the spec that is to be resumed")
            spec = requested.model_copy(update={"record": spec.record})
            write_atomically(path / "spec.yaml", to_yaml(spec))
        return cls(path, spec), spec

    def cut(self, meta_step: int) -> None:
        """Keep of the tables what was known after `meta_step`."""
        for table in self._tables():
            table.cut(meta_step)

    def save(self, meta_step: int, leaves: Mapping[str, tf.Tensor]) -> None:
        """A checkpoint after `meta_step`; Failure if it cannot be written, and those before are as they were."""
        # A checkpoint must not outlive the rows that lead to it.
        for table in self._tables():
            table.sync()
        self._checkpoints.save(meta_step, leaves)

    def restore(self, fault: Callable[[int, Mapping[str, tf.Tensor]], str | None]) -> dict[str, tf.Tensor] | None:
        """The leaves of the newest checkpoint that is good, see `Checkpoints.restore`; None when there is none at all."""
        return self._checkpoints.restore(fault)

    def event(self, meta_step: int, scalars: Mapping[str, float], histograms: Mapping[str, tf.Tensor] | None = None) -> None:
        """TensorBoard events. A run can do without them: should they fail to be written, that is said once."""
        if self._eventless:
            return
        with self._tolerance():
            if self._events is None:
                self._events = tf.summary.create_file_writer(str(self._events_folder), flush_millis=10_000)
            # TensorFlow keeps a tensor of every Python number that it has ever converted, but not of numpy's.
            with self._events.as_default(step=np.int64(meta_step)):
                # One operation for all of them: tf.summary.scalar takes a millisecond for each.
                values = [tf.compat.v1.Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
                tf.summary.experimental.write_raw_pb(tf.compat.v1.Summary(value=values).SerializeToString())
                for name, entries in (histograms or {}).items():
                    tf.summary.histogram(name, entries)

    def _tables(self) -> tuple[Table, ...]:
        return self.metrics, self.validation, self.horizons

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Within it no other process can train here; events are complete after it. BadInput if one does already."""
        with locked(self.path / LOCK) as alone:
            if not alone:
                raise BadInput(f"{self.path}: another process is training here")
            remove_leftovers(self.path / "spec.yaml")
            try:
                yield
            finally:
                with self._tolerance():
                    if self._events is not None:
                        self._events.close()
                        self._events = None

    @contextlib.contextmanager
    def _tolerance(self) -> Iterator[None]:
        """Within it a failure to write events is a warning, and the end of them."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            self._eventless, self._events = True, None
            warn(f"{self._events_folder}: no more TensorBoard events: {cause(error)}")
