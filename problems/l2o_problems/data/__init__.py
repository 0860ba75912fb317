"""Data sets by name, from this machine alone: nothing here uses a network."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from pathlib import Path

import numpy as np

from l2o_problems.data.catalog import DATA_SETS
from l2o_problems.data.dataset import DataInfo, DataMissing, DataSet, Sizes, Source, consecutive

__all__ = ["DATA_SETS", "DataInfo", "DataMissing", "DataSet", "describe", "fingerprint", "load"]

_loaded: dict[str, DataSet] = {}
_files_read: dict[str, str] = {}  # `_files` of what is loaded, as they were then


def load(name: str) -> DataSet:
    """The data set `name` of `DATA_SETS`, from the first of its sources that can be read; once in a process.

    Warns where a copy that is there was passed over because it cannot be read; `source` says so too.

    Raises:
        DataMissing: there is no such data set, or no copy that can be read. The message names the command that prepares it.
    """
    if name not in _loaded:
        _files_read[name] = _files(_info(name))
        _loaded[name] = _read(_info(name))
    return _loaded[name]


def describe(name: str) -> str:
    """The `source` of a data set, in milliseconds: a copy is described without reading it.

    Only a copy that turns out to be unreadable has another source once `load` has fallen back.

    Raises:
        DataMissing: as `load`.
    """
    info = _info(name)
    if name not in _loaded:
        for source in info.sources:
            path = source.find()
            if path is not None:
                try:
                    return _line(info, *source.describe(path))
                except Exception:  # whatever is wrong with that copy, `load` says it
                    break
    return load(name).source


def fingerprint(name: str) -> str:
    """What tells the content of a data set from any other that may lie in its place, in milliseconds.

    It is another once `load` has fallen back from the copy that `describe` describes.

    Raises:
        DataMissing: as `load`.
    """
    return f"{describe(name)}; {_files_read.get(name) or _files(_info(name))}"


def _files(info: DataInfo) -> str:
    """A hash of the names, sizes and times of the files of a copy; those that come with this package go without saying."""
    path = next((path for source in info.sources if (path := source.find()) is not None), None)
    if path is None or path.is_relative_to(Path(__file__).parent):
        return "embedded"
    total = hashlib.sha256()
    for file in sorted(path.rglob("*") if path.is_dir() else [path]):
        with contextlib.suppress(OSError):  # a file that is not there is said when it is read
            status = file.stat()
            total.update(f"{file.relative_to(path)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return total.hexdigest()


def _info(name: str) -> DataInfo:
    if name not in DATA_SETS:
        raise DataMissing(f"no data set {name!r}; there are: {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


def _line(info: DataInfo, words: str, sizes: Sizes) -> str:
    return f"{info.title}, {words} ({'/'.join(str(size) for size in sizes)})"


def _read(info: DataInfo) -> DataSet:
    faults: list[str] = []
    for source in info.sources:
        path = source.find()
        if path is None:
            continue
        try:
            data = _read_copy(info, source, path, faults)
        except Exception as error:  # whatever is wrong with that copy, there may be another
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            faults.append(f"the copy in {path} could not be read ({type(error).__name__}: {first_line[:120]})")
            continue
        if faults:
            warnings.warn(data.source, stacklevel=4)
        return data
    remedies = ", or: ".join(source.remedy for source in info.sources if source.remedy)
    advice = f"; where there is a network, prepare it with: {remedies}" if remedies else ""
    raise DataMissing(f"{info.title}: {', '.join(faults) or 'not on this machine'}{advice}")


def _read_copy(info: DataInfo, source: Source, path: Path, faults: list[str]) -> DataSet:
    words, sizes = source.describe(path)
    inputs, labels = source.read(path)
    shape = (info.side, info.side, info.channels) if info.channels > 1 else (info.side, info.side)
    if inputs.shape != (sum(sizes), *shape) or labels.shape != (sum(sizes),):
        raise ValueError(f"images {inputs.shape} and labels {labels.shape} where {(sum(sizes), *shape)} was announced")
    if labels.min() < 0 or labels.max() >= info.classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()} of {info.classes} classes")
    line = _line(info, ", as ".join([words, *faults]), sizes)
    return DataSet(inputs, labels.astype(np.int32), consecutive(sizes), info.peak, line)
