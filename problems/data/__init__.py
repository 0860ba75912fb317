"""Data sets by name, from this machine alone: nothing here uses a network."""

from __future__ import annotations

import warnings
from pathlib import Path

from problems.data.dataset import DataMissing, DataSet
from problems.data.embedded import read_embedded
from problems.data.prepared import describe_prepared, prepared_folder, read_prepared

__all__ = ["DataMissing", "DataSet", "describe", "load"]

NAMES = ("digits", "mnist")

_loaded: dict[str, DataSet] = {}


def _require_known(name: str) -> None:
    if name not in NAMES:
        raise DataMissing(f"no data set {name!r}; there are: {', '.join(NAMES)}")


def _mnist_embedded(reason: str = "") -> DataSet:
    return read_embedded("mnist5k.npz", f"MNIST, 5,000 embedded digits{reason}", 255)


def _fallback_reason(folder: Path, error: Exception) -> str:
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return f", as the copy in {folder} could not be read ({type(error).__name__}: {first_line[:120]})"


def load(name: str) -> DataSet:
    """The data set `name`, "digits" or "mnist", read once in a process.

    "digits": 1,797 images 8x8, embedded. "mnist": 28x28, the copy that tensorflow-datasets prepared if there is one
    (in TFDS_DATA_DIR or ~/tensorflow_datasets), else 5,000 embedded digits.

    Raises:
        DataMissing: there is no such data set, or it cannot be read.
    """
    if name not in _loaded:
        _loaded[name] = _read(name)
    return _loaded[name]


def _read(name: str) -> DataSet:
    _require_known(name)
    if name == "digits":
        return read_embedded("digits.npz", "UCI handwritten digits 8x8, embedded", 16)
    folder = prepared_folder(name)
    if folder is None:
        return _mnist_embedded()
    try:
        return read_prepared(folder, "MNIST", 255)
    except Exception as error:  # whatever is wrong with that copy, there is another
        data = _mnist_embedded(_fallback_reason(folder, error))
        warnings.warn(data.source, stacklevel=3)
        return data


def describe(name: str) -> str:
    """The `source` of a data set, in milliseconds: a prepared copy is described without reading it.

    Only a copy that turns out to be unreadable has another source once `load` has fallen back.

    Raises:
        DataMissing: as `load`.
    """
    _require_known(name)
    folder = prepared_folder(name) if name == "mnist" and name not in _loaded else None
    if folder is not None:
        try:
            return describe_prepared(folder, "MNIST")
        except (OSError, KeyError, ValueError):
            pass
    return load(name).source
