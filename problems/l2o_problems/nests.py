"""Arrays, alone or nested in lists, tuples and dicts, as the leaves of a batch and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from l2o_problems.base import Batch

Arrays = Any  # an array [N, ...], or a list, tuple or dict of such


def leaf_names(part: str, nest: Arrays) -> list[str]:
    """`part` for an array alone, part/0, part/1, ... for several, in the order of `tf.nest.flatten`."""
    return [f"{part}/{index}" for index in range(len(tf.nest.flatten(nest)))] if tf.nest.is_nested(nest) else [part]


def packed(part: str, nest: Arrays, leaves: Batch) -> Any:
    """The leaves of `part` nested as `nest`."""
    return tf.nest.pack_sequence_as(nest, [leaves[name] for name in leaf_names(part, nest)])


def as_leaves(part: str, nest: Arrays, arrays: Arrays) -> Batch:
    """The arrays as constants under the names of their leaves; numbers with a fraction become float32.

    Raises:
        ValueError: they are not numbers, or not nested as `nest`.
    """
    try:
        tf.nest.assert_same_structure(nest, arrays)
    except (TypeError, ValueError):
        raise ValueError(f"{part} must be nested as those of train") from None
    leaves = {}
    for name, array in zip(leaf_names(part, nest), map(np.asarray, tf.nest.flatten(arrays)), strict=True):
        if array.ndim == 0 or array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be an array of numbers, but is {array.dtype} of shape {array.shape}")
        leaves[name] = tf.constant(array, tf.float32 if array.dtype.kind == "f" else None)
    return leaves


def examples(leaves: Batch) -> int:
    """N, the length of the first axis of all leaves; a ValueError if they differ or it is 0."""
    sizes = {name: leaf.shape[0] for name, leaf in leaves.items()}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        raise ValueError(f"all arrays must have the same number of examples, at least one, but have {sizes}")
    return next(iter(sizes.values()))
