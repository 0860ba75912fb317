"""Two large networks in plain JAX: a byte-level transformer and a residual network with batch normalization.

Shape letters: B minibatch, S bytes of a context, D width, H heads, V byte values.
"""

from __future__ import annotations

import hashlib
import math
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from l2o_problems.data.embedded import Embedded
from l2o_problems.data.text import TEXTS, load_text

Params = Any

# Of Python's standard library: packages that every install has in Python, without tables and tests.
PACKAGES = ("asyncio", "collections", "concurrent", "email", "html", "http", "importlib", "json", "logging", "multiprocessing")
ENOUGH = 2_000_000  # bytes of text


@dataclass(frozen=True)
class Network:
    """A network with its data, which are arguments of what is compiled and no constants in it.

    Attributes:
        source: what the data are, with their size and SHA-256.
        train, held_out: arrays; the leaves of `held_out` are minibatches, one behind another on a leading axis.
        init: key -> params, float32.
        minibatch: (train, key) -> minibatch.
        loss: (params, minibatch) -> mean cross entropy in nats, [].
    """

    source: dict[str, Any]
    train: Any
    held_out: Any
    init: Callable[[jax.Array], Params]
    minibatch: Callable[[Any, jax.Array], Any]
    loss: Callable[[Params, Any], jax.Array]


def library_text() -> tuple[str, bytes]:
    """(title, bytes) of the sources of Python's standard library; the embedded help topics where they are not installed.

    The files follow one another by the SHA-256 of their names, so that what is held out is of the same kind as the rest.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    modules = [folder / f"{name}.py" for name in sys.stdlib_module_names]
    files = [*modules, *(path for name in PACKAGES for path in (folder / name).rglob("*.py"))]
    names = [path.relative_to(folder).as_posix() for path in files if path.is_file()]
    names.sort(key=lambda name: hashlib.sha256(name.encode()).digest())
    text = b"\n".join((folder / name).read_bytes() for name in names)
    if len(text) >= ENOUGH:
        return f"{len(names)} sources of Python {sys.version.split()[0]}'s standard library", text
    topics = load_text("topics")
    return TEXTS["topics"].title, topics.decode(topics.codes).encode()


def _source(title: str, content: bytes) -> dict[str, Any]:
    return {"title": title, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _keys(key: jax.Array) -> Iterator[jax.Array]:
    while True:
        key, own = jax.random.split(key)
        yield own


def gpt(
    width: int = 384, layers: int = 6, heads: int = 6, context: int = 256, batch_size: int = 32, eval_batches: int = 20
) -> Network:
    """A causal transformer over bytes: learned positions, layer normalization ahead of each part, GELU.

    The last tenth of the text is held out; the loss on it is that of evenly spaced windows.
    """
    title, text = library_text()
    codes = np.frombuffer(text, np.uint8)
    cut = len(codes) * 9 // 10
    starts = np.linspace(cut, len(codes) - context - 1, eval_batches * batch_size).astype(int)
    windows = codes[starts[:, None] + np.arange(context + 1)].reshape(eval_batches, batch_size, context + 1)

    def init(key: jax.Array) -> Params:
        keys = _keys(key)

        def normal(*shape: int, scale: float = 1.0) -> jax.Array:
            return 0.02 * scale * jax.random.normal(next(keys), shape)

        def dense(rows: int, columns: int, scale: float = 1.0) -> Params:
            return {"kernel": normal(rows, columns, scale=scale), "bias": jnp.zeros(columns)}

        def block() -> Params:
            return {
                "norm_1": _norm(width),
                "qkv": dense(width, 3 * width),
                "out": dense(width, width, 1 / math.sqrt(2 * layers)),
                "norm_2": _norm(width),
                "up": dense(width, 4 * width),
                "down": dense(4 * width, width, 1 / math.sqrt(2 * layers)),
            }

        return {
            "token_embedding": normal(256, width),
            "position_embedding": normal(context, width),
            "blocks": [block() for _ in range(layers)],
            "norm": _norm(width),
            "head": normal(width, 256),
        }

    def attention(block: Params, x: jax.Array) -> jax.Array:
        batch, length, _ = x.shape
        q, k, v = jnp.split(_dense(block["qkv"], x).reshape(batch, length, 3 * heads, -1), 3, axis=2)  # [B, S, H, D / H]
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(width // heads)
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -1e30)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
        return _dense(block["out"], mixed.reshape(x.shape))

    def loss(params: Params, windows: jax.Array) -> jax.Array:
        codes = windows.astype(jnp.int32)  # [B, S + 1]
        x = params["token_embedding"][codes[:, :-1]] + params["position_embedding"]
        for block in params["blocks"]:
            x = x + attention(block, _layer_norm(block["norm_1"], x))
            x = x + _dense(block["down"], jax.nn.gelu(_dense(block["up"], _layer_norm(block["norm_2"], x))))
        return _cross_entropy(_layer_norm(params["norm"], x) @ params["head"], codes[:, 1:])

    def minibatch(train: jax.Array, key: jax.Array) -> jax.Array:
        starts = jax.random.randint(key, (batch_size, 1), 0, len(train) - context)
        return train[starts + jnp.arange(context + 1)]

    return Network(_source(title, text), jnp.asarray(codes[:cut]), jnp.asarray(windows), init, minibatch, loss)


def resnet(widths: tuple[int, ...] = (64, 128, 256), blocks: int = 2, batch_size: int = 128, shift: int = 3) -> Network:
    """A residual network with batch normalization on 5,000 embedded MNIST digits, shifted at random.

    On the test split it normalizes by the statistics of that split, as in training by those of the minibatch.
    """
    embedded = Embedded("mnist5k.npz")
    path = embedded.find()
    _, (train_size, validation_size, _) = embedded.describe(path)
    images, labels = embedded.read(path)
    side, first_test = images.shape[1], train_size + validation_size
    strides = [1] + [2] * (len(widths) - 1)  # of the first block of each width

    def init(key: jax.Array) -> Params:
        keys = _keys(key)

        def kernel(*shape: int) -> jax.Array:
            return math.sqrt(2 / math.prod(shape[:-1])) * jax.random.normal(next(keys), shape)

        def block(inputs: int, width: int) -> Params:
            made = {"conv_1": kernel(3, 3, inputs, width), "conv_2": kernel(3, 3, width, width)}
            shortcut = {"shortcut": kernel(1, 1, inputs, width)} if inputs != width else {}
            return made | shortcut | {"norm_1": _norm(width), "norm_2": _norm(width)}

        ends = [widths[0], *widths]
        return {
            "stem": kernel(3, 3, 1, widths[0]),
            "norm": _norm(widths[0]),
            "stages": [
                [block(inputs if index == 0 else width, width) for index in range(blocks)]
                for inputs, width in zip(ends, widths, strict=False)
            ],
            "head": {"kernel": kernel(widths[-1], 10), "bias": jnp.zeros(10)},
        }

    def residual(block: Params, x: jax.Array, stride: int) -> jax.Array:
        inner = jax.nn.relu(_batch_norm(block["norm_1"], _conv(block["conv_1"], x, stride)))
        inner = _batch_norm(block["norm_2"], _conv(block["conv_2"], inner))
        return jax.nn.relu(inner + (_conv(block["shortcut"], x, stride) if "shortcut" in block else x))

    def loss(params: Params, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        x = (batch[0].astype(jnp.float32)[..., None] / 255 - 0.13) / 0.31
        x = jax.nn.relu(_batch_norm(params["norm"], _conv(params["stem"], x)))
        for stage, stride in zip(params["stages"], strides, strict=True):
            for index, block in enumerate(stage):
                x = residual(block, x, stride if index == 0 else 1)
        return _cross_entropy(_dense(params["head"], x.mean((1, 2))), batch[1])

    def minibatch(train: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[jax.Array, jax.Array]:
        padded, labels = train
        which, where = jax.random.split(key)
        chosen = jax.random.randint(which, (batch_size,), 0, len(labels))
        corners = jax.random.randint(where, (batch_size, 2), 0, 2 * shift + 1)
        cut = jax.vmap(lambda image, corner: lax.dynamic_slice(image, corner, (side, side)))
        return cut(padded[chosen], corners), labels[chosen]

    padded = np.pad(images[:train_size], ((0, 0), (shift, shift), (shift, shift)))
    return Network(
        _source("MNIST, 5,000 embedded digits", path.read_bytes()),
        (jnp.asarray(padded), jnp.asarray(labels[:train_size], jnp.int32)),
        (jnp.asarray(images[None, first_test:]), jnp.asarray(labels[None, first_test:], jnp.int32)),
        init,
        minibatch,
        loss,
    )


# {name: (as it is published, small enough for a CPU)}
NETWORKS: dict[str, tuple[Callable[[], Network], Callable[[], Network]]] = {
    "gpt": (gpt, lambda: gpt(width=32, layers=1, heads=2, context=32, batch_size=8, eval_batches=2)),
    "resnet": (resnet, lambda: resnet(widths=(4, 8), blocks=1, batch_size=8)),
}


def _norm(width: int) -> Params:
    return {"scale": jnp.ones(width), "offset": jnp.zeros(width)}


def _dense(params: Params, x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


def _conv(kernel: jax.Array, x: jax.Array, stride: int = 1) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _normalized(params: Params, x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * params["scale"] + params["offset"]


def _layer_norm(params: Params, x: jax.Array) -> jax.Array:
    return _normalized(params, x, (-1,))


def _batch_norm(params: Params, x: jax.Array) -> jax.Array:
    return _normalized(params, x, (0, 1, 2))


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, -1) - chosen)
