"""Tables by name, from this machine alone; NOTICE.md beside this file says whose they are."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l2o_problems.data.dataset import DataSet, consecutive
from l2o_problems.data.embedded import EmbeddedInfo, reading


@dataclass(frozen=True, kw_only=True)
class TableInfo(EmbeddedInfo):
    """What is known of a table without reading it; its sizes are examples.

    Attributes:
        columns: numbers of an example.
        classes: of its labels.
    """

    kind: ClassVar[str] = "table"

    columns: int
    classes: int


TABLES = {
    "breast_cancer": TableInfo(
        title="UCI breast cancer, Wisconsin, diagnostic", file="breast_cancer.npz", columns=30, classes=2, sizes=(457, 56, 56)
    ),
}


@functools.cache
def load_table(name: str) -> DataSet:
    """The table `name` of `TABLES`, inputs float32 [N, columns] in their own units, read once in a process.

    Raises:
        DataMissing: there is no such table, or it cannot be read.
    """
    with reading(TABLES, name) as (info, archive):
        inputs, labels, sizes = (archive[leaf] for leaf in ("inputs", "labels", "sizes"))
        if inputs.shape != (sum(info.sizes), info.columns) or labels.shape != inputs.shape[:1] or tuple(sizes) != info.sizes:
            raise ValueError(f"{inputs.shape} numbers where {info.source} was announced")
    return DataSet(inputs, labels.astype(np.int32), consecutive(info.sizes), float(np.abs(inputs).max()), info.source)


def in_deviations(inputs: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Columns [N, columns] less the means of those of `of`, over their standard deviations; float32."""
    exact = of.astype(np.float64)
    return ((inputs - exact.mean(axis=0)) / exact.std(axis=0)).astype(np.float32)
