"""The spec of a meta-training run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from l2o_cli.spec.lengths import Lengths
from l2o_cli.spec.meta_optimizers import MetaOptimizer
from l2o_cli.spec.model import Fraction, Model
from l2o_cli.spec.objectives import Objective
from l2o_cli.spec.optimizers import OptimizerSpec
from l2o_cli.spec.problems import Families


class Estimator(Model):
    """How the meta-gradient is estimated.

    All but truncated_backpropagation estimate the gradient of the objective expected under normal noise on the weights.
    """

    name: Literal["truncated_backpropagation", "es", "reparameterization", "combined", "pes", "full_es"] = Field(
        "truncated_backpropagation",
        description="the estimator: truncated_backpropagation: the derivative of a truncation; es: antithetic differences of a"
        " truncation; reparameterization: its derivative at perturbed weights; combined: these two, weighted by their"
        " inverse variances for each weight (Metz et al. 2019); pes: persistent ES, unbiased under truncation (Vicol et"
        " al. 2021); full_es: ES over the whole horizon",
    )
    second_derivatives: bool = Field(True, description="let meta-gradients flow through the inner gradients")
    divergence: PositiveFloat | None = Field(
        1e4, description="an instance whose loss exceeds this multiple of its initial loss is reset; null: only non-finite"
    )
    sigma: PositiveFloat = Field(0.01, description="standard deviation of the perturbations of the weights")
    pairs: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="antithetic pairs of each truncation; not for pes, which takes more instances"
    )
    shared: bool = Field(False, description="one perturbation for all instances of a family; false: each instance has its own")
    difference: Literal["plain", "normalized", "sign"] = Field(
        "plain",
        description="what multiplies the perturbations: plain: the difference of a pair's objectives; normalized: that divided by"
        " the root mean square of the family's differences; sign: its sign alone",
    )

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Estimator:
        if self.name == "pes" and self.pairs != 1:
            raise ValueError("pes takes one pair per instance; raise `instances` instead of `pairs`")
        if self.name == "combined" and self.shared and self.pairs == 1:
            raise ValueError("combined needs more than one perturbation to tell their variance: pairs, or shared: false")
        if self.name == "combined" and self.difference != "plain":
            raise ValueError("combined needs `difference: plain`: other differences are on another scale than the derivative")
        return self


class Rollback(Model):
    """When meta-training goes back to its best weights."""

    margin: NonNegativeFloat = Field(0.5, description="a validation is bad if its score exceeds the best by more than this")
    patience: PositiveInt = Field(3, description="bad validations in a row after which the run goes back")


class Validation(Model):
    """Meta-validation: the averaged weights are run on problems of their own, and the best are kept."""

    problems: Families = Field((), description="those that it runs on; none: the last averaged weights are kept")
    every: PositiveInt = Field(100, description="meta-steps between validations")
    steps: PositiveInt = Field(500, description="inner steps of each run")
    instances: PositiveInt = Field(4, description="instances per problem, the same at every validation")
    start: bool = Field(False, description="validate before the first meta-step too: the weights as they were drawn")
    objective: Objective | None = Field(None, description="what the runs are judged by; null: the objective of meta-training")
    rollback: Rollback | None = Field(
        None, description="go back to the best weights, with new instances, when validation stays bad; null: never"
    )

    @pydantic.model_validator(mode="after")
    def _judged(self) -> Validation:
        for field in ("start", "rollback"):
            if getattr(self, field) and not self.problems:
                raise ValueError(f"{field} needs problems to validate on")
        return self


class Executor(Model):
    """How workers share a run; in one process there is nothing to share."""

    mode: Literal["synchronous", "asynchronous"] = Field(
        "synchronous",
        description="synchronous: a meta-step waits for all its families, and the run has the same bits whatever the workers;"
        " asynchronous: it takes the first meta-gradients that come, no worker waits, and the run is not repeatable",
    )
    staleness: NonNegativeInt = Field(
        20, description="asynchronous: a meta-gradient of weights that are more than so many updates old is dropped"
    )


class MetaTraining(Model):
    """A meta-training run, from YAML; `l2o meta-train` reads it and writes it back, resolved."""

    seed: NonNegativeInt = Field(
        0, description="the seed of all that is drawn: weights, problems, instances, lengths, perturbations"
    )
    meta_steps: PositiveInt = Field(1000, description="updates of the weights")
    optimizer: OptimizerSpec = Field(description="what is meta-trained", examples=[{"name": "hrnn"}])
    begin_from: str | None = Field(
        None, description="a checkpoint, or the folder of a run, whose weights it begins with; null: drawn with the seed"
    )
    problems: Families = Field(
        min_length=1,
        examples=[["quadratic"]],
        description="the ensemble that it is meta-trained on: problems, draws from distributions, named ensembles",
    )
    families_per_step: PositiveInt = Field(2, description="problem families drawn for each meta-step")
    instances: PositiveInt = Field(16, description="instances of each family that run together")
    truncation: Lengths = Field(Lengths(), description="how many inner steps are unrolled for one meta-gradient")
    horizon: Lengths = Field(
        Lengths(distribution="exponential", scale=200, minimum=50, maximum=2000),
        description="how long an inner run is, after which its instance is drawn anew",
    )
    horizon_told: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="share of the instances whose optimizer is told their horizon, where it goes by the length of the run"
    )
    phase: Literal["random", "aligned"] = Field(
        "random",
        description="when the first instances end: random: after a random part of their horizon; aligned: after all of it",
    )
    objective: Objective = Field(Objective(), description="what is minimized: a weighted sum of terms")
    estimator: Estimator = Field(Estimator(), description="how the meta-gradient is estimated")
    meta_optimizer: MetaOptimizer = Field(MetaOptimizer(), description="how the weights follow the meta-gradient")
    ema: Fraction = Field(0.99, description="decay of the average of the weights over the meta-steps; 0: none")
    validation: Validation = Field(
        Validation(), description="runs of the averaged weights on problems of their own, by which the best weights are kept"
    )
    executor: Executor = Field(Executor(), description="how workers share the run, where it has some")
    checkpoint_every: PositiveInt = Field(50, description="meta-steps between checkpoints")
    record: dict[str, Any] | None = Field(None, description="versions, data sources and files of own problems, written by l2o")
