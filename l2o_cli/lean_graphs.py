"""Where TensorFlow's internals are reached into, so that graphs come out the same in every process and are cheap to compile.

`graph` does without where it is told to (`runtime.plain_tensorflow`), and where another TensorFlow has other internals.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import gc
import hashlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.ops import gen_math_ops, gen_nn_ops
from tensorflow.python.util import tf_stack

from l2o_cli import runtime

_traced: collections.Counter[str] = collections.Counter()

_KERNEL_GRADIENTS = ("conv2d_backprop_filter", "depthwise_conv2d_native_backprop_filter")


def traced(function: Any, arguments: tuple, key: str) -> Callable[..., Any]:
    """The concrete function of a `tf.function` for such arguments, its operations numbered by `key`; one thread at a time.

    Raises:
        AttributeError: this TensorFlow has not all that is reached for.
    """
    with _forgotten(), _uncollected(), _right_kernels(), _lean(key):
        concrete = function.get_concrete_function(*arguments)
    return _released(concrete)


def check() -> None:
    """AttributeError if this TensorFlow has not all that is reached for."""
    number = tf.constant(1.0)
    traced(tf.function(lambda value: -value, autograph=False), (number,), "check")(number)


@contextlib.contextmanager
def _lean(key: str) -> Iterator[None]:
    """Number what is traced here by `key`, keep it small, and add in a fixed order.

    XLA's cache knows a computation by the names in its graph too, which TensorFlow numbers through the whole process: without
    this a graph is found there again only if everything was traced in the same order. The Python stacks of all operations take
    a quarter of the memory that a compiled graph holds and a third of the time to compile it, the many equal constants (axes,
    bounds of slices) a sixth of both. The kernel that adds up many gradients begins with the one whose memory it can have, so
    that the last bit of the sum is a matter of luck.
    """
    _traced[key] += 1
    digest = hashlib.sha256(f"{key} {_traced[key]}".encode()).digest()
    numbers = itertools.count(int.from_bytes(digest[:5], "big") << 20)
    saved = ops.uid, tf_stack.extract_stack, gen_math_ops.add_n, ops._create_graph_constant
    depth = len(tf_stack.extract_stack())
    stack = tf_stack.extract_stack(depth)  # one frame: TensorFlow crashes on none
    constants: dict[Any, tuple[Any, tf.Tensor]] = {}

    def add_in_order(inputs: list, name: str | None = None) -> tf.Tensor:
        if inputs[0].dtype == tf.variant:  # lists of tensors
            return saved[2](inputs, name)
        return functools.reduce(gen_math_ops.add_v2, inputs)

    def constant(value: Any, dtype: Any, shape: Any, *rest: Any, **options: Any) -> tf.Tensor:
        """Equal integers once in each graph; floats never, since a tape may watch one of them."""
        if not (_is_integer(value) or (isinstance(value, list | tuple) and all(map(_is_integer, value)))):
            return saved[3](value, dtype, shape, *rest, **options)
        graph = tf.compat.v1.get_default_graph()
        known = (id(graph), repr(value), str(dtype), repr(shape))
        if known not in constants:
            constants[known] = graph, saved[3](value, dtype, shape, *rest, **options)  # the graph, so that no other has its id
        return constants[known][1]

    ops.uid = numbers.__next__
    gen_math_ops.add_n = add_in_order
    ops._create_graph_constant = constant
    if len(stack) == 1 and not runtime.debugging:
        tf_stack.extract_stack = lambda stacklevel=1: stack
    try:
        yield
    finally:
        ops.uid, tf_stack.extract_stack, gen_math_ops.add_n, ops._create_graph_constant = saved


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


@contextlib.contextmanager
def _right_kernels() -> Iterator[None]:
    """Take the gradient of a strided kernel of one pixel over the pixels that the strides select, whosesoever problem it is of.

    oneDNN gets it wrong: with AVX2 parts of it are whatever was in memory, with AVX-512 it may write beyond its end.
    """

    def right(gradient: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        def selecting(images: Any, sizes: Any, slopes: Any, strides: Any, padding: Any, **options: Any) -> tf.Tensor:
            known = tf.get_static_value(sizes)
            if known is None and tf.is_symbolic_tensor(sizes) and sizes.op.type == "ShapeN":
                known = sizes.op.inputs[sizes.value_index].shape
            if known is not None and tuple(known[:2]) == (1, 1) and not options.get("explicit_paddings"):
                images, strides = images[tuple(slice(None, None, stride) for stride in strides)], [1, 1, 1, 1]
            return gradient(images, sizes, slopes, strides, padding, **options)

        return selecting

    saved = {name: getattr(gen_nn_ops, name) for name in _KERNEL_GRADIENTS}
    for name, gradient in saved.items():
        setattr(gen_nn_ops, name, right(gradient))
    try:
        yield
    finally:
        for name, gradient in saved.items():
            setattr(gen_nn_ops, name, gradient)


@contextlib.contextmanager
def _forgotten() -> Iterator[None]:
    """Forget the custom gradients that are registered here: each would keep its whole graph, which is not derived again."""
    registered = ops.gradient_registry._registry
    before = set(registered)
    try:
        yield
    finally:
        for name in registered.keys() - before:
            if name.startswith("CustomGradient-"):
                del registered[name]


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection, which tracing sets off again and again, with nothing to collect yet."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _released(concrete: Any) -> Callable[..., Any]:
    """A traced function as TensorFlow's runtime has it, without the graph in Python: half the memory of a compiled one."""
    function, captured = concrete._inference_function, concrete.captured_inputs

    def release(function: Any) -> None:
        function._cached_graph = None
        for child in function.children:
            release(child)

    release(function)
    return lambda *arguments: function.call_with_captures(arguments, {}, captured)
