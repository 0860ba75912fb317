"""Regression and autoencoders on synthetic data drawn anew for each instance.

Shape letters: I instances, N examples of all splits, D inputs, B minibatch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from l2o_problems.base import SAMPLED
from l2o_problems.examples import SyntheticExamples
from l2o_problems.mlp import MlpProblem
from l2o_problems.networks import Activation, squared_error
from l2o_problems.normalization import Normalization
from l2o_problems.options import Count, Flag, FromOne, Layers, NonNegative, Positive, Probability, require_whole
from l2o_problems.random import fold, instance_keys
from l2o_problems.synthetic import Decades, low_rank_data, spoiled_inputs, teacher_data


@dataclass(frozen=True)
class RegressionMlp(MlpProblem, SyntheticExamples):
    """An MLP that learns what a random MLP, the teacher, makes of normal inputs (`l2o_problems.synthetic.teacher_data`).

    The loss is the mean over examples and outputs of the squared error. Targets have variance 1 before they get noise of the
    deviation `noise`, so that noise^2 is the least expected loss on held-out data. Dead inputs and decades of their scales
    are as in `cluster_mlp`; the teacher sees the inputs without them.
    """

    name: ClassVar[str] = "regression_mlp"
    summary: ClassVar[str] = "MLP that regresses on a random network's noisy outputs"
    example_leaves: ClassVar[tuple[str, ...]] = ("inputs", "targets")
    input_leaves = ("inputs",)

    hidden: tuple[int, ...] = (32,)
    inputs: Count = 10
    targets: Count = 1
    batch_size: int = 64
    samples: int = 1000
    activation: Activation = "relu"
    normalization: Normalization = "none"
    residual: Flag = False
    initial_scale: Positive = field(default=1.0, metadata=SAMPLED)  # of the kernels, in units of sqrt(2 / fan_in)
    teacher: Layers = field(default=(20, 20), metadata=SAMPLED)  # hidden layers; (): a linear map
    teacher_activation: Activation = field(default="tanh", metadata=SAMPLED)
    noise: NonNegative = field(default=0.1, metadata=SAMPLED)
    dead_inputs: Probability = field(default=0.0, metadata=SAMPLED)
    input_decades: Decades = field(default=0.0, metadata=SAMPLED)

    @property
    def ends(self):
        return self.inputs, self.targets

    def sample(self, seed, instances):
        shape = (instances, self.total_samples, self.inputs)
        inputs, targets = teacher_data(fold(seed, 0), shape, self.targets, self.teacher, self.teacher_activation, self.noise)
        spoiled = spoiled_inputs(fold(seed, 2), inputs, self.dead_inputs, self.input_decades)
        return {"inputs": spoiled, "targets": targets, "key": instance_keys(fold(seed, 1), instances)}

    def loss(self, params, task, batch):
        return squared_error(self.outputs(params, batch["inputs"]), batch["targets"])


@dataclass(frozen=True)
class LowRankAutoencoder(MlpProblem, SyntheticExamples):
    """An MLP from the inputs through `hidden`, a bottleneck, back to the inputs, which lie near a random linear subspace.

    The loss is the mean over examples and inputs of the squared error; the outputs are affine. Inputs have variance 1 on
    average and noise of the deviation `noise` besides (`l2o_problems.synthetic.low_rank_data`). With the activation `linear` the
    least loss is that of the principal components: the sum of the variances that have no place in the bottleneck.
    """

    name: ClassVar[str] = "low_rank_autoencoder"
    summary: ClassVar[str] = "autoencoder with a bottleneck on random low-rank data"
    example_leaves: ClassVar[tuple[str, ...]] = ("inputs",)

    hidden: tuple[int, ...] = (16, 4, 16)
    inputs: Count = 20
    batch_size: int = 64
    samples: int = 1000
    activation: Activation = "tanh"
    normalization: Normalization = "none"
    residual: Flag = False
    initial_scale: Positive = field(default=1.0, metadata=SAMPLED)  # of the kernels, in units of sqrt(2 / fan_in)
    rank: int = field(default=4, metadata=SAMPLED)
    condition: FromOne = field(default=1.0, metadata=SAMPLED)  # of the deviations along the subspace
    noise: NonNegative = field(default=0.1, metadata=SAMPLED)

    def __post_init__(self):
        super().__post_init__()
        require_whole("rank", self.rank, most=self.inputs)

    @property
    def ends(self):
        return self.inputs, self.inputs

    def sample(self, seed, instances):
        shape = (instances, self.total_samples, self.inputs)
        inputs = low_rank_data(fold(seed, 0), shape, self.rank, self.condition, self.noise)
        return {"inputs": inputs, "key": instance_keys(fold(seed, 1), instances)}

    def loss(self, params, task, batch):
        return squared_error(self.outputs(params, batch["inputs"]), batch["inputs"])
