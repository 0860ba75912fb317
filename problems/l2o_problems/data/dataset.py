"""What a data set is, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

VALIDATION_SIZE = 5000  # taken from the end of a train split, at most a twelfth of it, where a data set has none

Sizes = tuple[int, int, int]  # examples of train, validation and test


class DataMissing(RuntimeError):
    """Data that are not on this machine, or cannot be read; the message is one line."""


class Source(Protocol):
    """A place on this machine where a data set may lie. Whatever is wrong with a copy there, reading it may raise."""

    @property
    def remedy(self) -> str | None:
        """The command that puts the data set there; None for what comes with the package."""

    def find(self) -> Path | None:
        """Where the copy lies; None if there is none. In milliseconds."""

    def describe(self, path: Path) -> tuple[str, Sizes]:
        """What the copy at `path` is, in a few words, and how many examples reading it will give. In milliseconds."""

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [N, side, side], or [N, side, side, channels], and labels [N]: train, validation and test in turn."""


@dataclass(frozen=True)
class DataInfo:
    """What is known of a data set without reading it.

    Attributes:
        peak: the greatest value a pixel can have.
        sources: the places to look for it, the first that has it wins.
    """

    title: str
    side: int
    channels: int
    classes: int
    peak: float
    sources: tuple[Source, ...]

    @property
    def pixels(self) -> int:
        """Numbers in an image, all channels counted."""
        return self.side**2 * self.channels


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


def with_validation(train: int, test: int) -> Sizes:
    """The sizes of the splits when validation is taken from the end of `train` examples."""
    validation = min(VALIDATION_SIZE, train // 12)
    return train - validation, validation, test


def consecutive(sizes: Sizes) -> dict[str, slice]:
    """The splits of a data set whose train, validation and test examples have these numbers."""
    train, validation, test = (int(size) for size in sizes)
    return {
        "train": slice(0, train),
        "validation": slice(train, train + validation),
        "test": slice(train + validation, train + validation + test),
    }
