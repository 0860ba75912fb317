"""Texts by name, from this machine alone; NOTICE.md beside this file says whose they are."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from l2o_problems.data import embedded
from l2o_problems.data.dataset import DataMissing, Sizes, consecutive


@dataclass(frozen=True)
class TextInfo:
    """What is known of a text without reading it.

    Attributes:
        file: where it lies in this folder, written by `repack.py`.
        symbols: distinct characters.
        words: distinct words of train (`l2o_problems.data.words`).
        sizes: characters of train, validation and test.
    """

    title: str
    file: str
    symbols: int
    words: int
    sizes: Sizes

    @property
    def source(self) -> str:
        """One line for the record: what, whence, and the characters of the splits."""
        return f"{self.title}, embedded ({'/'.join(map(str, self.sizes))} characters)"


@dataclass(frozen=True, eq=False)
class Text:
    """Characters of all splits, one split after another as they stand in the text.

    Attributes:
        codes: [N] uint8, places in the vocabulary.
        vocabulary: its distinct characters, sorted by code point.
        splits: "train", "validation" and "test": where each lies in N.
    """

    codes: np.ndarray
    vocabulary: str
    splits: Mapping[str, slice]

    def split(self, name: str) -> np.ndarray:
        """The codes of one split (a view)."""
        return self.codes[self.splits[name]]

    def decode(self, codes: np.ndarray) -> str:
        """The characters that `codes` [...] stand for."""
        return "".join(self.vocabulary[code] for code in np.ravel(codes))


TEXTS = {"topics": TextInfo("Help topics of Python 3.11.7", "topics.npz", symbols=103, words=4117, sizes=(335864, 18718, 18522))}


@functools.cache
def load_text(name: str) -> Text:
    """The text `name` of `TEXTS`, read once in a process.

    Raises:
        DataMissing: there is no such text, or it cannot be read.
    """
    if name not in TEXTS:
        raise DataMissing(f"no text {name!r}; there are: {', '.join(TEXTS)}")
    info = TEXTS[name]
    path = embedded.FOLDER / info.file
    try:
        with np.load(path) as archive:
            codes, points, sizes = (archive[leaf] for leaf in ("codes", "vocabulary", "sizes"))
        if (len(points), *sizes) != (info.symbols, *info.sizes) or len(codes) != sum(sizes) or codes.max() >= info.symbols:
            raise ValueError(f"{len(codes)} characters, {len(points)} distinct, where {info.source} was announced")
    except Exception as error:  # whatever is wrong with the file
        raise DataMissing(f"{path}: cannot read the embedded text ({type(error).__name__}: {error})") from error
    return Text(codes, "".join(map(chr, points)), consecutive(info.sizes))
