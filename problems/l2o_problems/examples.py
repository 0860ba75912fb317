"""Problems whose examples are drawn anew for each instance and kept in its task.

Shape letters: I instances, N examples of all splits, B minibatch.
"""

from __future__ import annotations

from typing import ClassVar

import tensorflow as tf

from l2o_problems.base import Problem
from l2o_problems.options import require_whole
from l2o_problems.random import instance_integers


class SyntheticExamples(Problem):
    """A task that holds its examples: `samples` of train, then a quarter of that each of validation and test.

    Subclasses have the fields `batch_size` and `samples`, and tasks with the key [I] and the `example_leaves`, [I, N, ...].
    """

    example_leaves: ClassVar[tuple[str, ...]] = ("inputs", "labels")

    batch_size: int
    samples: int

    def __post_init__(self):
        super().__post_init__()
        require_whole("batch_size", self.batch_size)
        require_whole("samples", self.samples)

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

    @property
    def held_out(self):
        return True
