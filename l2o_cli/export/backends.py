"""What differs between Keras's backends for an optimizer; each imports its own framework alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from l2o_cli.export.rules import Update, update_of
from l2o_cli.optimizers.base import Optimizer
from l2o_cli.optimizers.blockwise import compiled_loops
from l2o_cli.optimizers.packing import Layout

KEPT = 64  # compiled updates that are kept for the models to come
BACKEND = keras.backend.backend()


@functools.lru_cache(maxsize=KEPT)
def compiled_update_of(rule: Optimizer, layout: Layout) -> Update:
    """`update_of` compiled with XLA, which never frees what it has compiled: 20 MB of a small learned optimizer.

    On PyTorch it is run as it is.
    """
    update = update_of(rule, layout)
    if BACKEND == "tensorflow":
        from l2o_cli.graph import Graph

        return Graph(compiled_loops()(update), f"update {rule} {layout}", xla=True)
    if BACKEND == "jax":
        import jax

        return jax.jit(update)
    return update


def eagerly() -> contextlib.AbstractContextManager:
    """Within it what is computed is computed at once, also while a graph is made."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    return contextlib.nullcontext()


def tensor_of(variable: keras.Variable) -> Any:
    """Its value, which on TensorFlow is a variable too."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(variable.value)
    return variable.value


def dense(gradient: Any, variable: Any) -> Any:
    """The gradient of a lookup, rows with their indices, as a tensor like `variable`."""
    if type(gradient).__name__ == "IndexedSlices":
        import tensorflow as tf

        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, variable.shape[0])
    return gradient.to_dense() if getattr(gradient, "is_sparse", False) else gradient


def replicas(strategy: Any = None) -> int:
    """How many replicas train at once in a strategy of TensorFlow's, the current one or the one given; 1 elsewhere."""
    if BACKEND != "tensorflow":
        return 1
    import tensorflow as tf

    return int((strategy or tf.distribute.get_strategy()).num_replicas_in_sync)


def summed(values: list[Any], strategy: Any) -> list[Any]:
    """The sums over the replicas of each value, which every replica gets alike."""
    if replicas(strategy) == 1:
        return values
    import tensorflow as tf

    return list(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values))


def assign_on_replicas(pairs: list[tuple[Any, Any]], strategy: Any) -> None:
    """Give each variable its value, on each replica that which is computed there."""
    import tensorflow as tf

    def write(distribution: Any, values: list[Any]) -> None:
        for (variable, _), value in zip(pairs, values, strict=True):
            own = getattr(variable, "value", variable)
            distribution.extended.update(own, lambda copy, new: copy.assign(new), args=(value,), group=False)

    values = [tf.cast(value, variable.dtype) for variable, value in pairs]
    tf.__internal__.distribute.interim.maybe_merge_call(write, strategy, values)


def is_of_this_graph(value: Any) -> bool:
    """Whether a tensor can be used where we are: inside of a TensorFlow graph, one from outside would be a constant."""
    if BACKEND != "tensorflow":
        return True
    import tensorflow as tf

    return bool(tf.executing_eagerly() or tf.is_symbolic_tensor(value))


def shown_on_its_way(loss: Any, show: Callable[[Any], None]) -> Any:
    """The loss; `show` is given its value, [], where the update can use it.

    JAX differentiates a function of its own, out of which no value may be taken aside: there it is shown again in the backward
    pass, which is outside.
    """
    show(_mean(loss))
    if BACKEND != "jax":
        return loss
    import jax

    @jax.custom_vjp
    def seen(loss: Any) -> Any:
        return loss

    def backward(loss: Any, upstream: Any) -> tuple[Any]:
        show(_mean(loss))
        return (upstream,)

    seen.defvjp(lambda loss: (loss, loss), backward)
    return seen(loss)


def _mean(loss: Any) -> Any:
    return ops.stop_gradient(ops.mean(ops.cast(loss, "float32")))
