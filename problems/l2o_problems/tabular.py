"""Classifiers of tables, whose columns are in units of their own.

Shape letters: I instances, B minibatch, N examples, D columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from l2o_problems.data.tables import TABLES, in_deviations, load_table
from l2o_problems.examples import SharedExamples, constants
from l2o_problems.mlp import MlpProblem
from l2o_problems.networks import Activation
from l2o_problems.options import Count, Flag, Sizes


@constants
def _constants(name: str, split: str, standardized: bool) -> tuple[np.ndarray, np.ndarray]:
    """The inputs of a split, float32 [N, D], and its labels, int32 [N]."""
    table = load_table(name)
    inputs, labels = table.split(split)
    return in_deviations(inputs, table.split("train")[0]) if standardized else inputs, labels


@dataclass(frozen=True)
class TabularMlp(MlpProblem, SharedExamples):
    """An MLP classifier of a table; kernels initialized as He et al. 2015, biases 0.

    With `standardized` each column has mean 0 and deviation 1 on the training examples; without, columns are in the units in
    which they were measured, from thousandths to thousands.
    """

    name: ClassVar[str] = "tabular_mlp"
    summary: ClassVar[str] = "MLP classifier of a table, its columns standardized or not"
    data_sets: ClassVar = TABLES
    input_leaves = ("inputs",)

    data: str = "breast_cancer"
    hidden: Sizes = (32, 32)
    activation: Activation = "relu"
    standardized: Flag = True
    batch_size: Count = 64

    @property
    def ends(self):
        return self.info.columns, self.info.classes

    def batch(self, seed, task, split):
        """inputs [I, B, D] and labels [I, B]; leading axis 1 for a whole split.

        Raises:
            l2o_problems.data.DataMissing: the table cannot be read.
        """
        inputs, labels = self.examples_of(seed, task, split, *_constants(self.data, split, self.standardized))
        return {"inputs": inputs, "labels": labels}
