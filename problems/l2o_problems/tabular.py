"""Classifiers of tables, whose columns are in units of their own.

Shape letters: I instances, B minibatch, N examples, D columns.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from l2o_problems.base import Problem
from l2o_problems.data.tables import TABLES, TableInfo, in_deviations, load_table
from l2o_problems.networks import ACTIVATIONS, Activation, cross_entropy, initial_network, mlp_logits, mlp_shapes
from l2o_problems.options import require_choice, require_sizes, require_whole
from l2o_problems.random import instance_integers, instance_keys


@functools.cache
def _constants(name: str, split: str, standardized: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """The inputs of a split, float32 [N, D], and its labels, int32 [N]: one copy for all problems and graphs."""
    with tf.init_scope():
        table = load_table(name)
        inputs, labels = table.split(split)
        return tf.constant(in_deviations(inputs, table.split("train")[0]) if standardized else inputs), tf.constant(labels)


@dataclass(frozen=True)
class TabularMlp(Problem):
    """An MLP classifier of a table; kernels initialized as He et al. 2015, biases 0.

    With `standardized` each column has mean 0 and deviation 1 on the training examples; without, columns are in the units in
    which they were measured, from thousandths to thousands.
    """

    name: ClassVar[str] = "tabular_mlp"
    summary: ClassVar[str] = "MLP classifier of a table, its columns standardized or not"

    data: str = "breast_cancer"
    hidden: tuple[int, ...] = (32, 32)
    activation: Activation = "relu"
    standardized: bool = True
    batch_size: int = 64

    def __post_init__(self):
        require_choice("data", self.data, TABLES)
        require_sizes("hidden", self.hidden)
        require_choice("activation", self.activation, ACTIVATIONS)
        if not isinstance(self.standardized, bool):
            raise ValueError(f"standardized must be true or false, but is {self.standardized!r}")
        require_whole("batch_size", self.batch_size)

    @property
    def info(self) -> TableInfo:
        """What is known of the table without reading it."""
        return TABLES[self.data]

    @property
    def param_shapes(self):
        return mlp_shapes((self.info.columns, *self.hidden, self.info.classes))

    def sample(self, seed, instances):
        return {"key": instance_keys(seed, instances)}

    def initial_params(self, seed, task):
        return initial_network(seed, self.param_shapes, task["key"].shape[0])

    def batch(self, seed, task, split):
        """inputs [I, B, D] and labels [I, B]; leading axis 1 for a whole split.

        Raises:
            l2o_problems.data.DataMissing: the table cannot be read.
        """
        inputs, labels = _constants(self.data, split, self.standardized)
        if split != "train":
            return {"inputs": inputs[None], "labels": labels[None]}
        index = instance_integers(seed, task["key"], self.batch_size, labels.shape[0])
        return {"inputs": tf.gather(inputs, index), "labels": tf.gather(labels, index)}

    def loss(self, params, task, batch):
        return cross_entropy(mlp_logits(params, batch["inputs"], self.activation), batch["labels"])

    @property
    def held_out(self):
        return True

    @property
    def input_leaves(self):
        return ("inputs",)

    @property
    def source(self):
        return self.info.source
