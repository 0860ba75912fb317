"""The directory of a meta-training run: resolved spec, tables, checkpoints, TensorBoard events, artifact."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf

from l2o_cli.errors import BadInput
from l2o_cli.files import locked, remove_leftovers, write_atomically
from l2o_cli.meta.checkpoints import Checkpoints
from l2o_cli.meta.estimators import ESTIMATORS
from l2o_cli.meta.meta_step import ASYNCHRONOUS, COLUMNS, DIAGNOSTIC, UpdateRecord, ValidationRecord
from l2o_cli.meta.run_tables import Row, by_meta_step, read_table
from l2o_cli.meta.writers import Events, Table
from l2o_cli.spec import MetaTraining, to_yaml
from l2o_cli.spec.reading import read_meta_training

LOCK = ".lock"


def _is_free(path: Path) -> bool:
    """Whether there is nothing at `path`, or a folder without content."""
    return not path.exists() or (path.is_dir() and all(entry.name == LOCK for entry in path.iterdir()))


class RunDirectory:
    """What one run writes; made for a new run, or taken up again."""

    def __init__(self, path: Path, spec: MetaTraining):
        self.path = path
        diagnostics = [DIAGNOSTIC.format(name) for name in ESTIMATORS[spec.estimator.name].diagnostics]
        asynchronous = ASYNCHRONOUS if spec.executor.mode == "asynchronous" else ()
        columns = COLUMNS | {"metrics": (*COLUMNS["metrics"], *asynchronous, *diagnostics)}
        self._tables = {name: Table(path / f"{name}.csv", own) for name, own in columns.items()}
        self.events = Events(path / "events", spec.validation.every)
        self.artifact = path / "artifact"
        self.checkpoints = Checkpoints(path / "checkpoints")

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
        for table in self._tables.values():
            table.cut(meta_step)

    def write(self, record: UpdateRecord | ValidationRecord) -> None:
        """Add the rows of the record to the tables; Failure, naming the file, if they cannot be written."""
        for name, rows in record.rows().items():
            self._tables[name].append(rows)

    def rows(self, table: str) -> list[Row]:
        """Those of a table, "metrics" or "validation"; none if there is no such file. BadInput if it is damaged."""
        path = self.path / f"{table}.csv"
        return read_table(path) if path.exists() else []

    def seconds_kept(self, after: int = 0) -> float:
        """What the meta-steps later than `after` that the last checkpoint keeps have taken."""
        last = self.checkpoints.last
        kept = [rows[0].get("seconds", 0.0) for step, rows in by_meta_step(self.rows("metrics")) if after < step <= last]
        return sum(kept)

    def save(self, meta_step: int, leaves: Mapping[str, tf.Tensor]) -> None:
        """A checkpoint after `meta_step`; Failure if it cannot be written, and those before are as they were."""
        # A checkpoint must not outlive the rows that lead to it.
        for table in self._tables.values():
            table.sync()
        self.checkpoints.save(meta_step, leaves)

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
                self.events.close()
