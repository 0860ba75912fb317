"""Compare the convolutions of all problems, and their gradients, with the same in float64, which oneDNN does not compute.

    MALLOC_PERTURB_=61 python tests/problems/convolution_gradients.py

Memory that was never written to is then full of numbers that show. Prints what is wrong, one line each, then how many
computations were compared; exit code 1 if one is wrong.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from l2o_cli import runtime

runtime.set_environment()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from l2o_problems.base import Batch, Problem, Task  # noqa: E402
from l2o_problems.convolutions import ImageConv, ImageResnet  # noqa: E402
from l2o_problems.data import DataMissing  # noqa: E402
from l2o_problems.ensembles import ENSEMBLES  # noqa: E402
from l2o_problems.random import as_seed  # noqa: E402
from l2o_problems.registry import PROBLEMS  # noqa: E402
from tensorflow.python.ops import gen_nn_ops  # noqa: E402

from l2o_cli.graph import Graph  # noqa: E402
from l2o_cli.spec import ProblemSpec  # noqa: E402

CONVOLUTIONS = [n for n in dir(gen_nn_ops) if n.startswith(("conv", "depthwise_conv")) and not n.endswith("_eager_fallback")]
SUM = 1e-5  # of the absolute values of all terms of a sum: more than what its rounding errors come to in any order

# Options with kernels of one pixel, few channels, odd sides, one image.
OTHERS = (
    ImageConv(data="digits", channels=(3,), kernels=(1,), strides=(2,), batch_size=16),
    ImageConv(data="digits", channels=(5, 4, 3), kernels=(1, 1, 2), strides=(1, 3, 2), batch_size=16),
    ImageConv(data="mnist", channels=(4, 8), kernels=(1, 1), strides=(4, 2), batch_size=1),
    ImageConv(data="cifar10", channels=(4, 6, 2), kernels=(3, 1, 5), strides=(3, 2, 1), batch_size=4),
    ImageResnet(data="digits", widths=(3, 4), batch_size=16),
    ImageResnet(data="digits", widths=(1, 5, 9), batch_size=1),
    ImageResnet(data="mnist", widths=(2, 4, 8), normalization="batch", batch_size=4),
)


def convolutional() -> Iterator[Problem]:
    """Every problem there is whose loss XLA does not compile: XLA has convolutions of its own."""
    entries = [entry for ensemble in ENSEMBLES.values() for entry in ensemble.families]
    families = [ProblemSpec.model_validate(entry).make() for entry in entries]
    registered = [make() for name, make in PROBLEMS.items() if name != "sum"]
    yield from (problem for problem in (*registered, *families, *OTHERS) if not problem.xla)


def minibatch(problem: Any, task: Task) -> Batch:
    try:
        return problem.batch(as_seed(3), task, "train")
    except DataMissing:
        shape = (1, problem.batch_size, problem.info.side**2 * problem.info.channels)
        pixels = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
        return {"inputs": tf.constant(pixels), "labels": tf.zeros(shape[:2], tf.int32)}


class Compared:
    """TensorFlow's functions that convolve, each of which compares what it gives, once for all inputs of the same shapes."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()
        self.wrong: list[str] = []
        for name in CONVOLUTIONS:
            setattr(gen_nn_ops, name, self._compared(name, getattr(gen_nn_ops, name)))

    def _compared(self, name: str, function: Any) -> Any:
        def comparing(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            if tf.is_symbolic_tensor(result) or result.dtype != tf.float32:
                return result
            what = f"{name} of {', '.join(map(_text, (*arguments, *options.values())))}"
            if what not in self.seen:
                self.seen.add(what)
                exact = function(*map(_double, arguments), **{key: _double(value) for key, value in options.items()}).numpy()
                terms = function(*map(_size, arguments), **{key: _size(value) for key, value in options.items()}).numpy()
                if not np.all(np.abs(result.numpy() - exact) <= SUM * terms):
                    self.wrong.append(f"{what}: {result.numpy().ravel()[:3]} instead of {exact.ravel()[:3]}")
            return result

        return comparing


def _is_data(value: Any) -> bool:
    return tf.is_tensor(value) and value.dtype.is_floating


def _text(value: Any) -> str:
    return str(tuple(value.shape) if _is_data(value) else value.numpy().tolist() if tf.is_tensor(value) else value)


def _double(value: Any) -> Any:
    return tf.cast(value, tf.float64) if _is_data(value) else value


def _size(value: Any) -> Any:
    return tf.abs(_double(value)) if _is_data(value) else value


def of_problems() -> tuple[int, list[str]]:
    """How many computations were compared, and what is wrong in them."""
    compared = Compared()
    for problem in convolutional():
        task = problem.sample(as_seed(1), 1)
        params = {name: values + 0.02 for name, values in problem.initial_params(as_seed(2), task).items()}
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, minibatch(problem, task))
        tape.gradient(loss, params)
    return len(compared.seen), compared.wrong


Convolve = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
# shape of an image, of the kernel
STRIDED: dict[str, tuple[tuple[int, ...], tuple[int, ...], Convolve]] = {
    "conv2d": ((8, 8, 3), (1, 1, 3, 4), lambda x, kernel: tf.nn.conv2d(x, kernel, 2, "SAME")),
    "conv2d of an odd side": ((9, 7, 5), (1, 1, 5, 4), lambda x, kernel: tf.nn.conv2d(x, kernel, 3, "VALID")),
    "Keras": ((8, 8, 3), (1, 1, 3, 4), lambda x, kernel: keras.ops.conv(x, kernel, 2, "same")),
    "conv1d": ((8, 3), (1, 3, 4), lambda x, kernel: tf.nn.conv1d(x, kernel, 2, "SAME")),
    "conv2d_transpose": ((4, 4, 4), (1, 1, 3, 4), lambda x, kernel: tf.nn.conv2d_transpose(x, kernel, (x.shape[0], 8, 8, 3), 2)),
    "depthwise_conv2d": ((8, 8, 1), (1, 1, 1, 4), lambda x, kernel: tf.nn.depthwise_conv2d(x, kernel, [1, 2, 2, 1], "SAME")),
}


def derivatives(convolve: Convolve) -> Callable[[tf.Tensor, tf.Tensor], Any]:
    """First and second derivatives of a loss that has third ones."""

    def both(x: tf.Tensor, kernel: tf.Tensor) -> Any:
        with tf.GradientTape() as outer:
            outer.watch((x, kernel))
            with tf.GradientTape() as inner:
                inner.watch((x, kernel))
                loss = tf.reduce_sum(convolve(x, kernel) ** 3)
            slopes = inner.gradient(loss, (x, kernel))
            squares = tf.add_n([tf.reduce_sum(slope**2) for slope in slopes])
        return slopes, outer.gradient(squares, (x, kernel))

    return both


def of_graphs() -> list[str]:
    """What is wrong with the derivatives of anybody's strided kernel of one pixel in a graph."""
    generator, wrong = np.random.default_rng(0), []
    for (name, (image, kernel, convolve)), images in itertools.product(STRIDED.items(), (1, 4)):
        arrays = generator.normal(size=(images, *image)), generator.normal(size=kernel)
        function = derivatives(convolve)
        expected = function(*map(tf.constant, arrays))
        actual = Graph(function, f"{name} {images}", xla=False)(*(tf.constant(array, tf.float32) for array in arrays))
        for one, two in zip(_arrays(actual), _arrays(expected), strict=True):
            if not np.abs(one - two).max() < 1e-4 * np.abs(two).max():
                wrong.append(f"{name} of {images}: {one.ravel()[:3]} instead of {two.ravel()[:3]}")
    return wrong


def _arrays(nest: Any) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in tf.nest.flatten(nest)]


def main() -> int:
    wrong = of_graphs()
    count, more = of_problems()
    print(*wrong, *more, f"{count} computations compared", sep="\n")
    return 1 if wrong or more else 0


if __name__ == "__main__":
    sys.exit(main())
