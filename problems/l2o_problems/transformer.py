"""A small transformer that predicts characters, or any symbols.

Shape letters: I instances, B windows, T characters of a window, V symbols, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from l2o_problems.networks import affine
from l2o_problems.normalization import normalize
from l2o_problems.options import Count, Depth
from l2o_problems.sequences import SequenceModel, embed
from l2o_problems.text import LanguageModel


class TransformerModel(SequenceModel):
    """The network of `TransformerLm`, for any symbols; subclasses have the fields below."""

    layers: Depth
    width: Count
    heads: Count
    feed_forward: Count
    # A meta-gradient takes as long with XLA as without, and seven times as long to compile (68 s against 10 s).
    xla = False

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f"heads must divide the width, {self.width}, but is {self.heads}")

    @property
    def param_shapes(self):
        width, inner = self.width, self.feed_forward * self.width
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocabulary, width), "positions": (self.length, width)}
        for layer in range(self.layers):
            shapes |= {f"scale_attention{layer}": (width,), f"offset_attention{layer}": (width,)}
            shapes |= {f"kernel_attention{layer}": (width, 3 * width), f"bias_attention{layer}": (3 * width,)}
            shapes |= {f"kernel_mix{layer}": (width, width), f"bias_mix{layer}": (width,)}
            shapes |= {f"scale_mlp{layer}": (width,), f"offset_mlp{layer}": (width,)}
            shapes |= {f"kernel_mlp{layer}": (width, inner), f"bias_mlp{layer}": (inner,)}
            shapes |= {f"kernel_out{layer}": (inner, width), f"bias_out{layer}": (width,)}
        return shapes | {"scale": (width,), "offset": (width,)}

    @property
    def deviations(self):
        deviation = 0.02 * math.sqrt(768 / self.width)
        residual = deviation / math.sqrt(2 * self.layers)
        matrices = [name for name, shape in self.param_shapes.items() if len(shape) == 2]
        return {name: residual if name.startswith(("kernel_mix", "kernel_out")) else deviation for name in matrices}

    def _attention(self, x: tf.Tensor, windows: int) -> tf.Tensor:
        """Queries, keys and values x [I, B * T, 3 * W], of all heads side by side -> [I, B * T, W]."""
        size = self.width // self.heads
        x = tf.reshape(x, [-1, windows, self.length, 3, self.heads, size])
        queries, keys, values = tf.unstack(tf.einsum("ibtchd->cibhtd", x))
        scores = tf.matmul(queries, keys, transpose_b=True) / math.sqrt(size)
        causal = tf.range(self.length)[:, None] >= tf.range(self.length)
        mixed = tf.matmul(tf.nn.softmax(tf.where(causal, scores, -1e9)), values)
        return tf.reshape(tf.einsum("ibhtd->ibthd", mixed), [-1, windows * self.length, self.width])

    def logits(self, params, inputs):
        windows = inputs.shape[1]

        def layer_norm(x: tf.Tensor, which: str) -> tf.Tensor:
            return normalize(x, params[f"scale{which}"][:, None], params[f"offset{which}"][:, None], axes=(2,))

        def linear(x: tf.Tensor, which: str) -> tf.Tensor:
            return affine(x, params[f"kernel{which}"], params[f"bias{which}"])

        x = embed(params["embedding"], inputs) + tf.tile(params["positions"], [1, windows, 1])
        for layer in range(self.layers):
            mixed = self._attention(linear(layer_norm(x, f"_attention{layer}"), f"_attention{layer}"), windows)
            x += linear(mixed, f"_mix{layer}")
            inner = tf.nn.gelu(linear(layer_norm(x, f"_mlp{layer}"), f"_mlp{layer}"))
            x += linear(inner, f"_out{layer}")
        return tf.matmul(layer_norm(x, ""), params["embedding"], transpose_b=True)


@dataclass(frozen=True)
class TransformerLm(LanguageModel, TransformerModel):
    """A decoder-only transformer like GPT-2 (Radford et al. 2019): learned positions, layer normalization before each part.

    Attention is causal, GELU exact, and the readout the transposed embedding, without a bias. Tensors of two axes start
    N(0, s^2) with s = 0.02 * sqrt(768 / width), which is GPT-2's 0.02 at its least width; those that write to the residual
    stream s / sqrt(2 * layers). Biases and offsets start 0, scales 1.
    """

    name: ClassVar[str] = "transformer"
    summary: ClassVar[str] = "small transformer that predicts the next character"

    layers: int = 2
    width: int = 32
    heads: int = 2
    length: int = 32
    batch_size: int = 32
    feed_forward: int = 4  # hidden units of a layer's MLP, in widths
    data: str = "topics"
