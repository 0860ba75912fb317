"""Texts by name, as characters and as words, from this machine alone; NOTICE.md beside this file says whose they are."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l2o_problems.data.dataset import consecutive
from l2o_problems.data.embedded import EmbeddedInfo, reading

# A word, or marks that stand together.
_WORD = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True, kw_only=True)
class TextInfo(EmbeddedInfo):
    """What is known of a text without reading it; its sizes are characters.

    Attributes:
        symbols: distinct characters.
        words: distinct words of train (`vocabulary`).
    """

    kind: ClassVar[str] = "text"
    unit: ClassVar[str] = " characters"

    symbols: int
    words: int


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


TEXTS = {
    "topics": TextInfo(
        title="Help topics of Python 3.11.7", file="topics.npz", symbols=103, words=4117, sizes=(335864, 18718, 18522)
    ),
}


@functools.cache
def load_text(name: str) -> Text:
    """The text `name` of `TEXTS`, read once in a process.

    Raises:
        DataMissing: there is no such text, or it cannot be read.
    """
    with reading(TEXTS, name) as (info, archive):
        codes, points, sizes = (archive[leaf] for leaf in ("codes", "vocabulary", "sizes"))
        if (len(points), *sizes) != (info.symbols, *info.sizes) or len(codes) != sum(sizes) or codes.max() >= info.symbols:
            raise ValueError(f"{len(codes)} characters, {len(points)} distinct, where {info.source} was announced")
    return Text(codes, "".join(map(chr, points)), consecutive(info.sizes))


def split_words(text: str) -> list[str]:
    """The words and marks of a text in their order, in small letters."""
    return _WORD.findall(text.lower())


@functools.cache
def vocabulary(name: str, size: int) -> tuple[str, ...]:
    """The `size` most frequent words of the training split, the most frequent first, equally frequent ones in alphabetical order.

    Raises:
        DataMissing: the text cannot be read.
    """
    counts = Counter(_words(name, "train"))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:size])


def word_codes(name: str, split: str, size: int) -> np.ndarray:
    """The words of a split as int32 [N]: 0 for a word that is not in the vocabulary of `size` - 1 words, else its rank from 1.

    Raises:
        DataMissing: the text cannot be read.
    """
    ranks = {word: rank for rank, word in enumerate(vocabulary(name, size - 1), start=1)}
    return np.array([ranks.get(word, 0) for word in _words(name, split)], np.int32)


@functools.cache
def _words(name: str, split: str) -> list[str]:
    text = load_text(name)
    return split_words(text.decode(text.split(split)))
