"""Language models of characters: the mean negative log likelihood, in nats, of each character given those before it.

Shape letters: I instances, B windows, T characters of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import tensorflow as tf

from l2o_problems.data.text import TEXTS, load_text
from l2o_problems.examples import SharedExamples, constants
from l2o_problems.random import instance_integers
from l2o_problems.sequences import RecurrentModel, SequenceModel


@constants
def _constant(name: str, split: str) -> np.ndarray:
    """The codes of a split, uint8 [N]."""
    return load_text(name).split(split)


class LanguageModel(SharedExamples, SequenceModel):
    """A model of the text `data`."""

    data_sets = TEXTS

    def __post_init__(self):
        super().__post_init__()
        if self.length >= min(self.info.sizes):
            raise ValueError(f"length must be less than the characters of a split, {min(self.info.sizes)}, but is {self.length}")

    @property
    def vocabulary(self):
        return self.info.symbols

    def batch(self, seed, task, split):
        """inputs and labels int32 [I, B, T], the labels one character ahead.

        "train": windows from anywhere. Whole splits, with I = 1: windows side by side, so that each character but the first
        is a label once, and fewer than `length` at the end never.

        Raises:
            l2o_problems.data.DataMissing: the text cannot be read.
        """
        text = _constant(self.data, split)
        starts = text.shape[0] - self.length
        if split == "train":
            begin = instance_integers(seed, task["key"], self.batch_size, starts)
        else:
            begin = tf.range(0, starts, self.length)[None]
        windows = tf.cast(tf.gather(text, begin[:, :, None] + tf.range(self.length + 1)), tf.int32)
        return {"inputs": windows[:, :, :-1], "labels": windows[:, :, 1:]}


@dataclass(frozen=True)
class CharRnn(LanguageModel, RecurrentModel):
    """An embedding, a recurrent cell from the zero state at the start of each window, and a linear readout (TaskSet's char_rnn).

    Embeddings start N(0, 1), the kernels of each gate as Glorot and Bengio 2010 (normal), biases 0, but 1 for the forget gate
    of an LSTM (Jozefowicz et al. 2015).
    """

    name: ClassVar[str] = "char_rnn"
    summary: ClassVar[str] = "GRU, LSTM or vanilla RNN that predicts the next character"

    cell: Literal["gru", "lstm", "vanilla"] = "gru"
    hidden: int = 64
    embedding: int = 16
    length: int = 32
    batch_size: int = 32
    data: str = "topics"
