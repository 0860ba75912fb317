"""What a data set is, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


class DataMissing(RuntimeError):
    """Data that are not on this machine, or cannot be read; the message is one line."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """Examples of all splits, one split after another.

    Attributes:
        inputs: [N, ...], uint8 or float32; `peak` is the greatest value an entry can have.
        labels: [N] int32, from 0.
        splits: "train", "validation" and "test": where each lies in N.
        source: one line for the record: what, whence, and the sizes of the splits.
    """

    inputs: np.ndarray
    labels: np.ndarray
    splits: Mapping[str, slice]
    peak: float
    source: str

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The inputs and labels of one split (views)."""
        return self.inputs[self.splits[name]], self.labels[self.splits[name]]


def consecutive(sizes: tuple[int, int, int]) -> dict[str, slice]:
    """The splits of a data set whose train, validation and test examples have these numbers."""
    train, validation, test = (int(size) for size in sizes)
    return {
        "train": slice(0, train),
        "validation": slice(train, train + validation),
        "test": slice(train + validation, train + validation + test),
    }
