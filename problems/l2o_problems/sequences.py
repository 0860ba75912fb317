"""Models of sequences: the mean negative log likelihood, in nats, of each symbol given those before it.

A tensor is moved from one order of axes to another by an einsum: the second derivative of tf.transpose in a loop does not
compile, as its permutation is then no constant of XLA. Symbols are looked up by products with one-hot vectors for the same
reason: the derivative of a gather transposes.

Shape letters: I instances, B windows, T symbols of a window, V symbols there are, E embedding, H hidden units, G gates.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import tensorflow as tf

from l2o_problems.base import Batch, Params, Problem
from l2o_problems.examples import loss_of_each
from l2o_problems.networks import affine, cross_entropy, initial_network
from l2o_problems.options import Count

# Windows up to so many symbols are unrolled. A loop compiles in a seventh of the time (11 s against 76 s for 32 symbols, in a
# meta-gradient) and is as fast, but a meta-gradient through it is compiled anew for each task.
UNROLLED = 12


class SequenceModel(Problem):
    """Predicts the symbol after each of the `length` symbols of a window from those of the window up to there.

    Batches have inputs and labels, int32 [I, B, T], the labels one symbol ahead; tasks the key [I].
    """

    length: Count
    batch_size: Count

    @property
    @abc.abstractmethod
    def vocabulary(self) -> int:
        """V."""

    @property
    def deviations(self) -> Mapping[str, float]:
        """The deviation of the initial entries of each tensor of two axes; 1 for those that are not named."""
        return {}

    @abc.abstractmethod
    def logits(self, params: Params, inputs: tf.Tensor) -> tf.Tensor:
        """inputs int32 [I, B, T] -> logits [I, B * T, V] of the symbols that follow."""

    def initial_params(self, seed, task):
        standard = initial_network(seed, self.param_shapes, task["key"].shape[0], lambda shape: 1.0)
        return {name: self.deviations.get(name, 1.0) * values for name, values in standard.items()}

    def loss(self, params, task, batch):
        return loss_of_each(self._loss, params, batch)

    def _loss(self, params: Params, batch: Batch) -> tf.Tensor:
        labels = batch["labels"]
        return cross_entropy(self.logits(params, batch["inputs"]), tf.reshape(labels, [labels.shape[0], -1]))


def embed(table: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    """The rows of table [I, V, E] that inputs int [I, B, T] name: [I, B * T, E]."""
    symbols = tf.reshape(inputs, [inputs.shape[0], -1])
    return tf.matmul(tf.one_hot(symbols, table.shape[1], dtype=table.dtype), table)


class Cell(NamedTuple):
    """A recurrent cell.

    Attributes:
        step: (x [I, B, G * H], the affine map of the input; states, each [I, B, H]; recurrent [I, H, G * H]) -> new states,
            of which the first is the output.
        gates: G, the parts of H columns each in which the kernels and the bias come, in the order that `step` names last.
        states: how many.
    """

    step: Callable[..., tuple[tf.Tensor, ...]]
    gates: int
    states: int


def _vanilla(x, states, recurrent):
    """h' = tanh(x + U h) (Elman 1990)."""
    return (tf.tanh(x + states[0] @ recurrent),)


def _gru(x, states, recurrent):
    """r, u = sigmoid(x + U h), c = tanh(x + U (r * h)), h' = u * h + (1 - u) * c; r u c (Cho et al. 2014, eq. 5-8)."""
    (hidden,) = states
    gates = 2 * hidden.shape[-1]
    reset, keep = tf.split(tf.sigmoid(x[..., :gates] + hidden @ recurrent[..., :gates]), 2, axis=-1)
    candidate = tf.tanh(x[..., gates:] + (reset * hidden) @ recurrent[..., gates:])
    return (keep * hidden + (1.0 - keep) * candidate,)


def _lstm(x, states, recurrent):
    """i, f, o = sigmoid(x + U h), g = tanh(x + U h), c' = f * c + i * g, h' = o * tanh(c'); i f g o (Gers et al. 2000)."""
    hidden, memory = states
    take, forget, candidate, give = tf.split(x + hidden @ recurrent, 4, axis=-1)
    memory = tf.sigmoid(forget) * memory + tf.sigmoid(take) * tf.tanh(candidate)
    return tf.sigmoid(give) * tf.tanh(memory), memory


CELLS = {"gru": Cell(_gru, 3, 1), "lstm": Cell(_lstm, 4, 2), "vanilla": Cell(_vanilla, 1, 1)}


class RecurrentModel(SequenceModel):
    """The network of `l2o_problems.text.CharRnn`, for any symbols; subclasses have the fields below."""

    cell: Literal["gru", "lstm", "vanilla"]
    hidden: Count
    embedding: Count

    @property
    def param_shapes(self):
        columns, symbols = CELLS[self.cell].gates * self.hidden, self.vocabulary
        return {
            "embedding": (symbols, self.embedding),
            "kernel": (self.embedding, columns),
            "recurrent": (self.hidden, columns),
            "bias": (columns,),
            "kernel_out": (self.hidden, symbols),
            "bias_out": (symbols,),
        }

    @property
    def deviations(self):
        fans = {
            "kernel": self.embedding + self.hidden,
            "recurrent": 2 * self.hidden,
            "kernel_out": self.hidden + self.vocabulary,
        }
        return {name: math.sqrt(2 / fan) for name, fan in fans.items()}

    def initial_params(self, seed, task):
        params = super().initial_params(seed, task)
        if self.cell == "lstm":
            params["bias"] += tf.repeat([0.0, 1.0, 0.0, 0.0], self.hidden)
        return params

    def logits(self, params, inputs):
        cell = CELLS[self.cell]
        instances, windows, length = inputs.shape
        x = affine(embed(params["embedding"], inputs), params["kernel"], params["bias"])
        x = tf.einsum("ibtg->tibg", tf.reshape(x, [instances, windows, length, -1]))
        zero = tf.zeros([instances, windows, self.hidden])
        states = [zero] * cell.states
        if length <= UNROLLED:
            outputs = []
            for time in range(length):
                states = list(cell.step(x[time], states, params["recurrent"]))
                outputs.append(states[0])
            hidden = tf.stack(outputs, axis=2)
        else:
            hidden = _looped(cell, x, states, params["recurrent"])
        return affine(tf.reshape(hidden, [instances, -1, self.hidden]), params["kernel_out"], params["bias_out"])


def _looped(cell: Cell, x: tf.Tensor, states: list[tf.Tensor], recurrent: tf.Tensor) -> tf.Tensor:
    """The outputs of a cell for x [T, I, B, G * H], in a loop: [I, B, T, H]."""
    length = x.shape[0]
    outputs = tf.TensorArray(tf.float32, size=length, element_shape=states[0].shape)

    def body(time, outputs, *states):
        states = cell.step(x[time], states, recurrent)
        return time + 1, outputs.write(time, states[0]), *states

    _, outputs, *_ = tf.while_loop(
        lambda time, *_: time < length, body, (tf.constant(0), outputs, *states), maximum_iterations=length
    )
    return tf.einsum("tibh->ibth", outputs.stack())
