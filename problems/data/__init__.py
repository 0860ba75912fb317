"""Data sets by name, from this machine alone: nothing here uses a network."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from problems.data.catalog import DATA_SETS
from problems.data.dataset import DataInfo, DataMissing, DataSet, Sizes, Source, consecutive

__all__ = ["DATA_SETS", "DataInfo", "DataMissing", "DataSet", "describe", "load"]

_loaded: dict[str, DataSet] = {}


def load(name: str) -> DataSet:
    """The data set `name` of `DATA_SETS`, from the first of its sources that can be read; once in a process.

    Warns where a copy that is there was passed over because it cannot be read; `source` says so too.

    Raises:
        DataMissing: there is no such data set, or no copy that can be read. The message names the command that prepares it.
    """
    if name not in _loaded:
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
