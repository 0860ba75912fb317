"""Whole training steps of large networks in Keras, with learned optimizers beside Adam, and the memory that they take.

Each optimizer trains in a process of its own, `python -m l2o_cli.benchmark.nets ...`, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from l2o_cli import devices
from l2o_cli.errors import Failure

STEPS, WARM_UP = 7, 2
CLASSES = 1000
TOKENS, CONTEXT, WIDTH, LAYERS, HEADS = 256, 256, 384, 6, 6
ADAM = "adam"


class Net(NamedTuple):
    """A network to measure.

    Attributes:
        summary: what it is, for the help.
        make: makes the Keras model.
        side: of the square images in pixels; None: it reads tokens.
    """

    summary: str
    make: Callable[[], Any]
    side: int | None


def _resnet() -> Any:
    import keras

    return keras.applications.ResNet50V2(weights=None, input_shape=(64, 64, 3), classes=CLASSES, classifier_activation=None)


def _inception() -> Any:
    import keras

    return keras.applications.InceptionV3(weights=None, input_shape=(96, 96, 3), classes=CLASSES, classifier_activation=None)


def _gpt() -> Any:
    from keras import Input, Model, layers, ops

    tokens = Input((CONTEXT,), dtype="int32")
    position = layers.Embedding(CONTEXT, WIDTH, name="position_embedding")(ops.arange(CONTEXT)[None])
    x = layers.Embedding(TOKENS, WIDTH, name="token_embedding")(tokens) + position
    for _ in range(LAYERS):
        seen = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(seen, seen, use_causal_mask=True)
        seen = layers.LayerNormalization()(x)
        x = x + layers.Dense(WIDTH)(layers.Dense(4 * WIDTH, "gelu")(seen))
    return Model(tokens, layers.Dense(TOKENS)(layers.LayerNormalization()(x)))


NETS = {
    "resnet50v2": Net("a residual network of 26 million parameters, images of 64x64", _resnet, 64),
    "inceptionv3": Net("Inception of 24 million parameters, images of 96x96", _inception, 96),
    "gpt": Net(f"a transformer of 11 million parameters, {CONTEXT} bytes of text", _gpt, None),
}


def measure_net(
    net: str, batch: int, optimizers: Sequence[str], backend: str, tell: Callable[[str], None] = lambda line: None
) -> list[dict]:
    """A row for Adam and for each optimizer: milliseconds of a step, as a multiple of Adam's too, and the peak of memory.

    Args:
        batch: the examples in a minibatch.
        optimizers: as `LearnedOptimizer` takes them.
        backend: Keras's, "tensorflow", "jax" or "torch".

    Raises:
        BadInput: there is no optimizer of that name.
        Failure: a process ended with an error; the message has its last line.
    """
    environment = os.environ | {"KERAS_BACKEND": backend}
    if "keras" not in sys.modules:
        os.environ.update(environment)  # here too: who uses another framework may not have TensorFlow
    from l2o_cli.export.resolve import resolve

    for name in optimizers:
        resolve(name)  # before the minutes that the others take
    rows: list[dict] = []
    for optimizer in (ADAM, *(name for name in optimizers if name != ADAM)):
        tell(f"{net} with {optimizer}")
        command = [sys.executable, "-m", __name__, net, str(batch), optimizer]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"{net} with {optimizer}: {([*done.stderr.strip().splitlines()] or ['killed'])[-1]}")
        row = json.loads(done.stdout.splitlines()[-1])
        adam = rows[0]["milliseconds"] if rows else row["milliseconds"]
        rows.append({"net": net, "backend": backend, "batch": batch, **row, "adams": row["milliseconds"] / adam})
    return rows


def train(net: str, batch: int, optimizer: str) -> dict[str, Any]:
    """What one optimizer takes, in this process."""
    import keras
    import numpy as np

    from l2o_cli import LearnedOptimizer

    kind, rng = NETS[net], np.random.default_rng(0)
    x: Any
    y: Any
    keras.utils.set_random_seed(0)
    model = kind.make()
    if kind.side is None:
        x = rng.integers(0, TOKENS, (batch, CONTEXT)).astype(np.int32)
        y = np.roll(x, -1, axis=1)
    else:
        x = rng.standard_normal((batch, kind.side, kind.side, 3)).astype(np.float32)
        y = rng.integers(0, CLASSES, batch)
    own = keras.optimizers.Adam() if optimizer == ADAM else LearnedOptimizer(optimizer, steps=STEPS + WARM_UP)
    model.compile(own, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=keras.backend.backend() == "jax")
    seconds, losses = [], []
    for _ in range(WARM_UP + STEPS):
        begin = time.perf_counter()
        losses.append(float(model.train_on_batch(x, y)))
        seconds.append(time.perf_counter() - begin)
    device, peak = _device_and_peak()
    return {
        "device": device,
        "optimizer": optimizer,
        "parameters": int(sum(np.prod(variable.shape) for variable in model.trainable_variables)),
        "milliseconds": 1000 * statistics.median(seconds[WARM_UP:]),
        "first_call_seconds": seconds[0],
        "peak_gigabytes": peak / 1e9,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def _device_and_peak() -> tuple[str, float]:
    """What Keras's backend computes on, and the most bytes that were in use: of an accelerator's memory, or of this process."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        statistics_of = jax.devices()[0].memory_stats() or {}
        if "peak_bytes_in_use" in statistics_of:
            return jax.devices()[0].device_kind, float(statistics_of["peak_bytes_in_use"])
    elif backend == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name(), float(torch.cuda.max_memory_allocated())
    else:
        return devices.text(), devices.peak_memory()
    return devices.processor(), devices.process_peak()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("net", choices=NETS)
    parser.add_argument("batch", type=int)
    parser.add_argument("optimizer")
    given = parser.parse_args()
    print(json.dumps(train(given.net, given.batch, given.optimizer)))
