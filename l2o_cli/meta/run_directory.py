"""The files of a meta-training run: resolved spec, tables, checkpoints, TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from l2o_cli.errors import BadInput, Failure
from l2o_cli.files import write_atomically
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
    "learning_rate",
    "inner_steps",  # over all instances
    "seconds",  # of the whole meta-step
)
VALIDATION = ("meta_step", "problem", "objective", "final_ratio", "diverged")
KEPT_CHECKPOINTS = 2


class Table:
    """A CSV file that grows by rows and can be cut back to what a checkpoint knows."""

    def __init__(self, path: Path, columns: Iterable[str]):
        self._path, self._columns = path, tuple(columns)

    def cut(self, meta_step: int) -> None:
        """Keep the whole rows up to `meta_step`; begin the file if there is none."""
        rows: list[dict[str, str]] = []
        if self._path.exists():
            with self._path.open(newline="") as file:
                # A killed process may leave half a row at the end.
                rows = [row for row in csv.DictReader(file) if None not in row.values() and None not in row]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows if int(row["meta_step"]) <= meta_step)
        write_atomically(self._path, text.getvalue())

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerows(rows)


def _read_leaves(path: str) -> dict[str, tf.Tensor]:
    """The variables of a checkpoint by the names they were saved under."""
    reader = tf.train.load_checkpoint(path)
    leaves = {}
    for key in reader.get_variable_to_shape_map():
        name, attribute, _ = key.partition("/.ATTRIBUTES/")
        if attribute and name.startswith("leaves/"):
            # TensorFlow writes a slash within a name as ".S".
            leaves[name.removeprefix("leaves/").replace(".S", "/")] = tf.convert_to_tensor(reader.get_tensor(key))
    if not leaves:
        raise ValueError(f"{path} holds no leaves")
    return leaves


class RunDirectory:
    """What one run writes; made for a new run, or taken up again."""

    def __init__(self, path: Path):
        self.path = path
        self.metrics = Table(path / "metrics.csv", METRICS)
        self.validation = Table(path / "validation.csv", VALIDATION)
        self.artifact = path / "artifact"
        self._events: Any = None

    @classmethod
    def create(cls, path: Path, spec: MetaTraining) -> RunDirectory:
        """A new directory, or an empty one; BadInput if it is in use."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise BadInput(f"{path}: already used; choose another --out, or go on in it with --resume")
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / "spec.yaml", to_yaml(spec))
        return cls(path)

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
        return cls(path), spec

    def save(self, meta_step: int, leaves: Mapping[str, tf.Tensor]) -> None:
        """A checkpoint after `meta_step`; a killed process leaves the one before."""
        variables = {name: tf.Variable(leaf, trainable=False) for name, leaf in leaves.items()}
        self._manager(tf.train.Checkpoint(leaves=variables)).save(checkpoint_number=meta_step)

    def restore(self) -> dict[str, tf.Tensor] | None:
        """The leaves of the newest checkpoint that can be read; None when there is none at all."""
        paths = list(reversed(self._manager(tf.train.Checkpoint()).checkpoints))
        for path in paths:
            try:
                return _read_leaves(path)
            except Exception:  # TensorFlow's reader raises whatever the damage makes it trip over
                continue
        if paths:
            raise Failure(f"{paths[0]}: no checkpoint of this run can be read")
        return None

    def _manager(self, checkpoint: tf.train.Checkpoint) -> tf.train.CheckpointManager:
        # Made anew each time: the leaves grow as problem families are drawn for the first time.
        return tf.train.CheckpointManager(checkpoint, str(self.path / "checkpoints"), max_to_keep=KEPT_CHECKPOINTS)

    def event(self, meta_step: int, scalars: Mapping[str, float]) -> None:
        """TensorBoard scalars."""
        if self._events is None:
            self._events = tf.summary.create_file_writer(str(self.path / "events"), flush_millis=10_000)
        with self._events.as_default(step=meta_step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
