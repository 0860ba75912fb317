"""TensorFlow graphs that come out the same in every process, and are cheap to compile."""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.ops import gen_math_ops
from tensorflow.python.util import tf_stack

from l2o_cli import runtime

_tracing = threading.RLock()
_traced: collections.Counter[str] = collections.Counter()


@contextlib.contextmanager
def _lean(key: str) -> Iterator[None]:
    """Number what is traced here by `key`, do without the Python stack of every operation, and add in a fixed order.

    XLA's cache knows a computation by the names in its graph too, which TensorFlow numbers through the whole process: without
    this a graph is found there again only if everything was traced in the same order. The stacks take a quarter of the memory
    that a compiled graph holds and a third of the time to compile it. The kernel that adds up many gradients begins with
    the one whose memory it can have, so that the last bit of the sum is a matter of luck.
    """
    if not (hasattr(ops, "uid") and hasattr(tf_stack, "extract_stack")):  # another TensorFlow than those known
        yield
        return
    _traced[key] += 1
    digest = hashlib.sha256(f"{key} {_traced[key]}".encode()).digest()
    numbers = itertools.count(int.from_bytes(digest[:5], "big") << 20)
    saved = ops.uid, tf_stack.extract_stack, gen_math_ops.add_n
    depth = len(tf_stack.extract_stack())
    stack = tf_stack.extract_stack(depth)  # one frame: TensorFlow crashes on none
    ops.uid = numbers.__next__

    def add_in_order(inputs: list, name: str | None = None) -> tf.Tensor:
        if inputs[0].dtype == tf.variant:  # lists of tensors
            return saved[2](inputs, name)
        return functools.reduce(gen_math_ops.add_v2, inputs)

    gen_math_ops.add_n = add_in_order
    if len(stack) == 1 and not runtime.debugging:
        tf_stack.extract_stack = lambda stacklevel=1: stack
    try:
        yield
    finally:
        ops.uid, tf_stack.extract_stack, gen_math_ops.add_n = saved


class Graph:
    """A function of nests of tensors as a graph, traced once for each combination of their shapes.

    Args:
        function: called with tensors to trace it; may not depend on anything else that changes.
        key: what it computes, in words that are the same in every process; XLA's cache finds it by them.
        xla: whether XLA compiles it.
    """

    def __init__(self, function: Callable[..., Any], key: str, xla: bool):
        if not xla:
            # Or Grappler puts together again what `_lean` takes apart.
            tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
        self._function = tf.function(function, jit_compile=True if xla else None, autograph=False)
        self._key = key
        self._traces: dict[Any, Any] = {}

    def trace(self, *arguments: Any) -> Any:
        """The traced function for such arguments; it is compiled when first called."""
        signature = tuple((leaf.dtype, tuple(leaf.shape)) for leaf in tf.nest.flatten(arguments))
        if signature not in self._traces:
            # One at a time, and a graph that two threads want only once.
            with _tracing:
                if signature not in self._traces:
                    with _lean(f"{self._key} {signature}"):
                        self._traces[signature] = self._function.get_concrete_function(*arguments)
        return self._traces[signature]

    def __call__(self, *arguments: Any) -> Any:
        return self.trace(*arguments)(*arguments)
