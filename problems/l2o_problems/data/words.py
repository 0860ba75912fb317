"""Texts as words, made of those of `l2o_problems.data.text`."""

from __future__ import annotations

import functools
import re
from collections import Counter

import numpy as np

from l2o_problems.data.text import load_text

# A word, or marks that stand together.
_WORD = re.compile(r"\w+|[^\w\s]+")


def split_words(text: str) -> list[str]:
    """The words and marks of a text in their order, in small letters."""
    return _WORD.findall(text.lower())


@functools.cache
def vocabulary(name: str, size: int) -> tuple[str, ...]:
    """The `size` most frequent words of the training split, the most frequent first, equally frequent ones in alphabetical order.

    Raises:
        l2o_problems.data.DataMissing: the text cannot be read.
    """
    counts = Counter(_words(name, "train"))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:size])


def word_codes(name: str, split: str, size: int) -> np.ndarray:
    """The words of a split as int32 [N]: 0 for a word that is not in the vocabulary of `size` - 1 words, else its rank from 1.

    Raises:
        l2o_problems.data.DataMissing: the text cannot be read.
    """
    ranks = {word: rank for rank, word in enumerate(vocabulary(name, size - 1), start=1)}
    return np.array([ranks.get(word, 0) for word in _words(name, split)], np.int32)


@functools.cache
def _words(name: str, split: str) -> list[str]:
    text = load_text(name)
    return split_words(text.decode(text.split(split)))
