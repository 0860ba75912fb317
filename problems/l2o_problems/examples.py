"""Problems that learn from examples: those of a data set, which all instances share, or drawn anew for each instance.

Shape letters: I instances, N examples, B minibatch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import tensorflow as tf

from l2o_problems.base import Batch, Params, Problem, Split, Task
from l2o_problems.options import Count, require_choice
from l2o_problems.random import instance_integers, instance_keys, integers


def constants(read: Callable[..., Any]) -> Callable[..., Any]:
    """The arrays that `read` gives as constants: one copy for all problems and graphs."""

    @functools.cache
    def read_once(*arguments: Any) -> Any:
        with tf.init_scope():
            return tf.nest.map_structure(tf.constant, read(*arguments))

    return read_once


class SharedExamples(Problem):
    """A problem on the data set `data`, a constant of the problem that is read when first needed; subclasses have the fields.

    Instances share it and differ in their initial params and in the minibatches they draw. Shapes are known without the data.
    """

    data_sets: ClassVar[Mapping[str, Any]]  # what `data` may be: what is known of it without reading it, with its `source`

    data: str
    batch_size: int
    held_out = True

    def __post_init__(self):
        super().__post_init__()
        require_choice("data", self.data, self.data_sets)

    @property
    def info(self) -> Any:
        """What is known of the data without reading them."""
        return self.data_sets[self.data]

    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}

    def examples_of(self, seed: tf.Tensor, task: Task, split: Split, *arrays: tf.Tensor) -> list[tf.Tensor]:
        """Of arrays of the split, [N, ...], a minibatch of "train", [I, B, ...]; of other splits the whole, [1, N, ...]."""
        if split != "train":
            return [array[None] for array in arrays]
        index = instance_integers(seed, task["key"], self.batch_size, arrays[0].shape[0])
        return [tf.gather(array, index) for array in arrays]

    @property
    def source(self):
        return self.info.source


def loss_of_each(loss: Callable[[Params, Batch], tf.Tensor], params: Params, batch: Batch) -> tf.Tensor:
    """`loss` [I] of params {name: [I, ...]}; where all share a split, one after another, as activations of all take gigabytes."""
    if batch["inputs"].shape[0] == next(iter(params.values())).shape[0]:
        return loss(params, batch)
    return tf.map_fn(
        lambda own: loss({name: values[None] for name, values in own.items()}, batch)[0],
        params,
        fn_output_signature=tf.TensorSpec([]),
        parallel_iterations=1,
    )


class SyntheticExamples(Problem):
    """A task that holds its examples: `samples` of train, then a quarter of that each of validation and test.

    Subclasses have the fields `batch_size` and `samples`, and tasks with the key [I] and the `example_leaves`, [I, N, ...].
    """

    example_leaves: ClassVar[tuple[str, ...]] = ("inputs", "labels")

    batch_size: Count
    samples: Count
    held_out = True

    @property
    def held_out_samples(self) -> int:
        """Examples in "validation", and as many in "test"."""
        return max(1, self.samples // 4)

    @property
    def total_samples(self) -> int:
        """N."""
        return self.samples + 2 * self.held_out_samples

    def batch(self, seed, task, split):
        if split == "train":
            index = instance_integers(seed, task["key"], self.batch_size, self.samples)
            return {leaf: tf.gather(task[leaf], index, batch_dims=1) for leaf in self.example_leaves}
        begin = self.samples + (split == "test") * self.held_out_samples
        part = slice(begin, begin + self.held_out_samples)
        return {leaf: task[leaf][:, part] for leaf in self.example_leaves}


def validation_minibatch(problem: Problem, seed: tf.Tensor, task: Task, like: Batch) -> Batch:
    """As many examples of the "validation" split, drawn with replacement, as the training minibatch `like` has.

    All instances get the same examples. A leaf that has no more examples than that, or no counterpart, stays whole.
    """

    def drawn(name: str, leaf: tf.Tensor) -> tf.Tensor:
        model = like.get(name)
        if model is None or leaf.shape.rank < 2 or leaf.shape[1] <= model.shape[1]:
            return leaf
        # Of the same seed: leaves with as many examples (inputs and labels) stay in line.
        part = tf.gather(leaf, integers(seed, [model.shape[1]], leaf.shape[1]), axis=1)
        # Some problems run instance after instance where the data have no instance axis.
        return tf.broadcast_to(part, [model.shape[0], *part.shape[1:]])

    return {name: drawn(name, leaf) for name, leaf in problem.batch(seed, task, "validation").items()}
