"""Functions that are compiled, as TensorFlow graphs; `lean_graphs` keeps them small and names them by what they compute."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import tensorflow as tf

from l2o_cli import runtime
from l2o_cli.errors import warn_once

runtime.wait_for_cache()  # all that is compiled is compiled below or later

_tracing = threading.RLock()


@functools.cache
def _internals() -> ModuleType | None:
    """`lean_graphs`; None where TensorFlow's public interface alone is to be used, or this TensorFlow has other internals."""
    if runtime.plain_tensorflow():
        return None
    try:
        from l2o_cli import lean_graphs

        lean_graphs.check()
    except (AttributeError, ImportError) as error:
        warn_once(
            f"this TensorFlow has other internals than l2o knows ({error}): graphs take more time and memory, and convolutions "
            "may get wrong gradients with oneDNN; L2O_PLAIN_TENSORFLOW=1 does without either"
        )
        return None
    return lean_graphs


def kind() -> str:
    """How graphs are made, "lean" or "plain", which may decide how numbers are rounded."""
    with _tracing:
        return "lean" if _internals() else "plain"


class Graph:
    """A function of nests of tensors as a graph, traced once for each combination of their shapes.

    Args:
        function: called with tensors to trace it; may not depend on anything else that changes.
        key: what it computes, in words that are the same in every process; XLA's cache finds it by them.
        xla: whether XLA compiles it.
    """

    def __init__(self, function: Callable[..., Any], key: str, xla: bool):
        if not xla and not runtime.plain_tensorflow():
            # Or Grappler puts together again what `lean_graphs` takes apart.
            tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
        self._function, self._key, self._xla = function, key, xla
        self._traces: dict[Any, Any] = {}

    def trace(self, *arguments: Any) -> Callable[..., Any]:
        """The traced function for such arguments; it is compiled when first called."""
        signature = tuple((leaf.dtype, tuple(leaf.shape)) for leaf in tf.nest.flatten(arguments))
        if signature not in self._traces:
            # One at a time, and a graph that two threads want only once.
            with _tracing:
                if signature not in self._traces:
                    function = tf.function(self._function, jit_compile=True if self._xla else None, autograph=False)
                    lean = _internals()
                    self._traces[signature] = (
                        lean.traced(function, arguments, f"{self._key} {signature}")
                        if lean
                        else function.get_concrete_function(*arguments)
                    )
        return self._traces[signature]

    def __call__(self, *arguments: Any) -> Any:
        function = self.trace(*arguments)
        try:
            return function(*arguments)
        except tf.errors.OpError as error:
            if not runtime.without_cache(error):
                raise
            self._traces.clear()  # TensorFlow remembers of a function that it could not be compiled
            return self.trace(*arguments)(*arguments)
