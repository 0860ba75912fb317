"""The checkpoints of a run: written whole or not at all, and read whole before they are trusted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from l2o_cli.errors import Failure, warn
from l2o_cli.files import cause, replace_folder, sync

KEPT = 2  # the last checkpoint, and one to fall back to
PREFIX = "leaves"  # of TensorFlow's files


def mismatch(
    leaves: Mapping[str, tf.Tensor], like: Mapping[str, tf.Tensor | tf.TensorSpec], finite: tuple[str, ...] = ()
) -> str | None:
    """How leaves differ in names, shapes and types from those that they must be like; None if they do not.

    Args:
        finite: beginnings of the names of leaves that must be finite.
    """
    for name in sorted(like.keys() ^ leaves.keys()):
        return f"leaf {name!r} is missing" if name in like else f"leaf {name!r} is none of this run's"
    for name, leaf in leaves.items():
        if leaf.dtype != like[name].dtype:
            return f"leaf {name!r} is {leaf.dtype.name}, not {like[name].dtype.name}"
        if tuple(leaf.shape) != tuple(like[name].shape):
            return f"leaf {name!r} has the shape {tuple(leaf.shape)}, not {tuple(like[name].shape)}"
        if name.startswith(finite) and not np.isfinite(leaf.numpy()).all():
            return f"leaf {name!r} is not finite"
    return None


class Checkpoints:
    """The folder of a run's checkpoints: `ckpt-N` after meta-step N, a folder with TensorFlow's files.

    Such a folder appears at once, by being renamed. It is good if all of it can be read: TensorFlow keeps a checksum of every
    tensor and of every block of the index.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._damaged: set[int] = set()  # meta-steps whose checkpoints were passed over

    def save(self, meta_step: int, leaves: Mapping[str, tf.Tensor]) -> None:
        """A checkpoint after `meta_step`; the `KEPT` newest are kept.

        Raises:
            Failure: it cannot be written; those before are as they were.
        """
        path = self._path(meta_step)
        pending = path.with_name(f".{path.name}.tmp")
        variables = {name: tf.Variable(leaf, trainable=False) for name, leaf in leaves.items()}
        try:
            tf.train.Checkpoint(leaves=variables).write(str(pending / PREFIX))
            for file in [*pending.iterdir(), pending]:
                sync(file)
            replace_folder(pending, path)  # a damaged one, or the same again
            sync(self._folder)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(pending, ignore_errors=True)
            raise Failure(f"{path}: cannot be written: {cause(error)}") from None
        self._prune(meta_step)

    @property
    def last(self) -> int:
        """The meta-step of the newest checkpoint, be it good or not; 0 if there is none."""
        return next(iter(self._steps()), 0)

    def restore(self, fault: Callable[[int, Mapping[str, tf.Tensor]], str | None]) -> dict[str, tf.Tensor] | None:
        """The leaves of the newest checkpoint that is good; None when there is none at all.

        Says which were passed over. Raises Failure if all are damaged.

        Args:
            fault: what is wrong with the leaves of a checkpoint after a meta-step, or None.
        """
        faults: dict[int, str] = {}
        for step in self._steps():
            try:
                leaves = _read_leaves(str(self._path(step) / PREFIX))
            except Exception as error:  # TensorFlow's reader raises whatever the damage makes it trip over
                faults[step] = cause(error, "damaged")
                continue
            if (found := fault(step, leaves)) is not None:
                faults[step] = found
                continue
            if faults:
                self._damaged = set(faults)
                warn(f"{self._account(faults)}; going on from ckpt-{step}")
            return leaves
        if faults:
            raise Failure(f"{self._account(faults)}; no checkpoint of this run can be read")
        return None

    def _prune(self, newest: int) -> None:
        """Remove all but the `KEPT` last good ones; those later than `newest` are of a time to which the run went back."""
        good = [step for step in self._steps() if step == newest or (step < newest and step not in self._damaged)]
        for step in set(self._steps()) - set(good[:KEPT]):
            shutil.rmtree(self._path(step), ignore_errors=True)
        for abandoned in self._folder.glob(".ckpt-*.tmp"):
            shutil.rmtree(abandoned, ignore_errors=True)

    def _account(self, faults: Mapping[int, str]) -> str:
        return f"{self._folder}{os.sep}" + ", ".join(f"{self._path(step).name}: {fault}" for step, fault in faults.items())

    def _path(self, meta_step: int) -> Path:
        return self._folder / f"ckpt-{meta_step}"

    def _steps(self) -> list[int]:
        """The meta-steps after which there is a checkpoint, the newest first."""
        numbers = [path.name.removeprefix("ckpt-") for path in self._folder.glob("ckpt-*")]
        return sorted((int(number) for number in numbers if number.isdecimal()), reverse=True)


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
