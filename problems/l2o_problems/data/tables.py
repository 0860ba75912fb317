"""Tables by name, from this machine alone; NOTICE.md beside this file says whose they are."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from l2o_problems.data import embedded
from l2o_problems.data.dataset import DataMissing, DataSet, Sizes, consecutive


@dataclass(frozen=True)
class TableInfo:
    """What is known of a table without reading it.

    Attributes:
        file: where it lies in this folder, written by `repack.py`.
        columns: numbers of an example.
        classes: of its labels.
        sizes: examples of train, validation and test.
    """

    title: str
    file: str
    columns: int
    classes: int
    sizes: Sizes

    @property
    def source(self) -> str:
        """One line for the record: what, whence, and the sizes of the splits."""
        return f"{self.title}, embedded ({'/'.join(map(str, self.sizes))})"


TABLES = {
    "breast_cancer": TableInfo("UCI breast cancer, Wisconsin, diagnostic", "breast_cancer.npz", 30, 2, (457, 56, 56)),
}


@functools.cache
def load_table(name: str) -> DataSet:
    """The table `name` of `TABLES`, inputs float32 [N, columns] in their own units, read once in a process.

    Raises:
        DataMissing: there is no such table, or it cannot be read.
    """
    if name not in TABLES:
        raise DataMissing(f"no table {name!r}; there are: {', '.join(TABLES)}")
    info = TABLES[name]
    path = embedded.FOLDER / info.file
    try:
        with np.load(path) as archive:
            inputs, labels, sizes = (archive[leaf] for leaf in ("inputs", "labels", "sizes"))
        if inputs.shape != (sum(info.sizes), info.columns) or labels.shape != inputs.shape[:1] or tuple(sizes) != info.sizes:
            raise ValueError(f"{inputs.shape} numbers where {info.source} was announced")
    except Exception as error:  # whatever is wrong with the file
        raise DataMissing(f"{path}: cannot read the embedded table ({type(error).__name__}: {error})") from error
    return DataSet(inputs, labels.astype(np.int32), consecutive(info.sizes), float(np.abs(inputs).max()), info.source)


def in_deviations(inputs: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Columns [N, columns] less the means of those of `of`, over their standard deviations; float32."""
    exact = of.astype(np.float64)
    return ((inputs - exact.mean(axis=0)) / exact.std(axis=0)).astype(np.float32)
