"""Models of random Markov chains, whose symbols are as unequal as words are: each instance has a chain of its own.

Most rows of an embedding are in few minibatches, and get no gradient in the others.

Shape letters: I instances, N windows of all splits, T symbols of a window, V symbols there are, B minibatch, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import tensorflow as tf

from l2o_problems.base import SAMPLED
from l2o_problems.examples import SyntheticExamples
from l2o_problems.mlp import MlpProblem
from l2o_problems.networks import Activation
from l2o_problems.normalization import Normalization
from l2o_problems.options import Count, Flag, NonNegative, Positive, Probability, Several, require_whole
from l2o_problems.random import fold, instance_keys, normal, uniform
from l2o_problems.sequences import RecurrentModel, SequenceModel, embed
from l2o_problems.transformer import TransformerModel

MOST_CONTEXTS = 1 << 20  # symbols^order, each of which has successors of its own


class MarkovChain(SyntheticExamples, SequenceModel):
    """Windows of a chain of `symbols` symbols; subclasses have the fields below, those from `order` on being sampled options.

    The k-th symbol has the Zipf probability proportional to 1 / k^zipf. What follows the last `order` symbols is with the
    probability `mixing` a symbol of that distribution, else one of the context's `branches` successors, which are drawn from
    it once for an instance; the j-th of them with a probability proportional to 1 / j. Windows begin independently of each
    other, after `order` symbols of that distribution.
    """

    symbols: Several
    order: Annotated[int, partial(require_whole, most=2)]
    branches: Count
    zipf: NonNegative
    mixing: Probability
    example_leaves = ("windows",)

    def __post_init__(self):
        super().__post_init__()
        if self.symbols**self.order > MOST_CONTEXTS:
            raise ValueError(f"symbols^order must be at most {MOST_CONTEXTS:,}, but symbols is {self.symbols}")

    @property
    def vocabulary(self):
        return self.symbols

    @property
    def frequencies(self) -> np.ndarray:
        """The Zipf probability of each symbol, float64 [V]."""
        weights = np.arange(1, self.symbols + 1.0) ** -float(self.zipf)
        return weights / weights.sum()

    def _zipf(self, seed: tf.Tensor, shape: list[int]) -> tf.Tensor:
        return _choice(self.frequencies, uniform(seed, shape))

    def sample(self, seed, instances):
        count = [instances, self.total_samples]
        contexts = self.symbols**self.order
        successors = self._zipf(fold(seed, 0), [instances, contexts * self.branches])
        share = 1 / np.arange(1, self.branches + 1.0)
        # The branches, and last what ignores the context.
        shares = np.append((1 - self.mixing) * share / share.sum(), self.mixing)

        def follow(past: tuple[tf.Tensor, ...], time: tf.Tensor) -> tuple[tf.Tensor, ...]:
            own = fold(fold(seed, 1), time)
            branch = _choice(shares, uniform(fold(own, 0), count))
            context = past[0] if self.order == 1 else past[0] * self.symbols + past[1]
            place = context * self.branches + tf.minimum(branch, self.branches - 1)
            known = tf.gather(successors, place, batch_dims=1)
            return *past[1:], tf.where(branch == self.branches, self._zipf(fold(own, 1), count), known)

        start = tuple(self._zipf(fold(fold(seed, 2), index), count) for index in range(self.order))
        steps = tf.scan(follow, tf.range(self.length + 1), start)[-1]
        return {"windows": tf.einsum("tin->int", steps), "key": instance_keys(fold(seed, 3), instances)}

    def batch(self, seed, task, split):
        windows = super().batch(seed, task, split)["windows"]
        return {"inputs": windows[:, :, :-1], "labels": windows[:, :, 1:]}


def _choice(probabilities: np.ndarray, where: tf.Tensor) -> tf.Tensor:
    """The place that `where`, uniform in (0, 1), has in the distribution, int32."""
    ends = tf.constant(np.cumsum(probabilities)[:-1], tf.float32)
    return tf.reshape(tf.searchsorted(ends, tf.reshape(where, [-1]), side="right"), where.shape)


@dataclass(frozen=True)
class MarkovRnn(MarkovChain, RecurrentModel):
    """The network of `char_rnn` on a random Markov chain (`l2o_problems.markov.MarkovChain`)."""

    name: ClassVar[str] = "markov_rnn"
    summary: ClassVar[str] = "GRU, LSTM or vanilla RNN on a random Markov chain of Zipf symbols"

    cell: Literal["gru", "lstm", "vanilla"] = "gru"
    hidden: int = 12
    embedding: int = 8
    length: int = 8
    batch_size: int = 16
    symbols: int = 24
    samples: int = 1000
    order: int = field(default=1, metadata=SAMPLED)
    branches: int = field(default=4, metadata=SAMPLED)
    zipf: float = field(default=1.0, metadata=SAMPLED)
    mixing: float = field(default=0.1, metadata=SAMPLED)


@dataclass(frozen=True)
class MarkovTransformer(MarkovChain, TransformerModel):
    """The network of `transformer` on a random Markov chain (`l2o_problems.markov.MarkovChain`)."""

    name: ClassVar[str] = "markov_transformer"
    summary: ClassVar[str] = "small transformer on a random Markov chain of Zipf symbols"
    xla = True  # a meta-gradient of a network so small is 2.4 times as fast

    layers: int = 1
    width: int = 8
    heads: int = 1
    length: int = 8
    batch_size: int = 16
    feed_forward: int = 4  # hidden units of a layer's MLP, in widths
    symbols: int = 24
    samples: int = 1000
    order: int = field(default=1, metadata=SAMPLED)
    branches: int = field(default=4, metadata=SAMPLED)
    zipf: float = field(default=1.0, metadata=SAMPLED)
    mixing: float = field(default=0.1, metadata=SAMPLED)


@dataclass(frozen=True)
class MarkovMlp(MarkovChain, MlpProblem):
    """Predicts the symbol after a window of `length` from their embeddings side by side, by an MLP (Bengio et al. 2003).

    With `length` 1 and no hidden layers it is a bigram model of rank `embedding`. Embeddings start N(0, 1). The symbols are
    those of a random Markov chain (`l2o_problems.markov.MarkovChain`).
    """

    name: ClassVar[str] = "markov_mlp"
    summary: ClassVar[str] = "embeddings and an MLP on a random Markov chain of many Zipf symbols"

    hidden: tuple[int, ...] = ()
    embedding: Count = 8
    length: int = 1
    batch_size: int = 32
    symbols: int = 200
    samples: int = 4000
    activation: Activation = "tanh"
    normalization: Normalization = "none"
    residual: Flag = False
    initial_scale: Positive = field(default=1.0, metadata=SAMPLED)  # of the kernels, in units of sqrt(2 / fan_in)
    order: int = field(default=1, metadata=SAMPLED)
    branches: int = field(default=4, metadata=SAMPLED)
    zipf: float = field(default=1.0, metadata=SAMPLED)
    mixing: float = field(default=0.1, metadata=SAMPLED)

    @property
    def ends(self):
        return self.length * self.embedding, self.symbols

    @property
    def param_shapes(self):
        return {"embedding": (self.symbols, self.embedding), **self.mlp_shapes}

    def initial_params(self, seed, task):
        instances = task["key"].shape[0]
        table = normal(fold(seed, 0), [instances, self.symbols, self.embedding])
        return {"embedding": table, **self.initial_mlp(fold(seed, 1), instances)}

    def logits(self, params, inputs):
        """inputs int32 [I, B, T] -> logits [I, B, V] of the symbol that follows."""
        own = {name: values for name, values in params.items() if name != "embedding"}
        side_by_side = tf.reshape(embed(params["embedding"], inputs), [*inputs.shape[:2], self.ends[0]])
        return self.outputs(own, side_by_side)

    def batch(self, seed, task, split):
        batch = super().batch(seed, task, split)
        return {"inputs": batch["inputs"], "labels": batch["labels"][:, :, -1:]}
