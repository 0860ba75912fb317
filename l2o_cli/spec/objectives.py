"""What meta-training minimizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from pydantic import Field, PositiveFloat, PositiveInt

from l2o_cli.spec.model import Model

if TYPE_CHECKING:
    from l2o_cli.optimizers.base import Optimizer

NonNegative = Annotated[float, Field(ge=0)]


class Term(Model):
    """One measure of a truncation, or of a whole run in validation."""

    weight: float = Field(1.0, description="its share in the sum of all terms")
    of: Literal["mean", "final", "minimum"] = Field(
        "mean", description="which loss of the steps: mean: that of all; final: the last one; minimum: the least"
    )
    scale: Literal["log", "ratio", "adam", "loss"] = Field(
        "log",
        description="what is made of the losses: log: log((loss + epsilon) / (initial loss + epsilon)); ratio: that quotient;"
        " adam: 0 at the best loss of tuned Adam, 1 at its initial loss, between -2 and 2 (problems/l2o_problems/adam.csv);"
        " loss: the loss itself",
    )
    on: Literal["training", "fresh", "validation"] = Field(
        "training",
        description="data of the measurements: training: the minibatches of the inner steps; fresh: other training minibatches;"
        " validation: validation data",
    )
    batches: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="fresh: how many minibatches each measurement averages over"
    )
    batch_size: PositiveInt | None = Field(
        128, description="validation: examples drawn for each measurement; null: the whole split"
    )
    cap: float | None = Field(None, description="bound on each measurement, after scaling; Metz et al. 2019 cap losses at 10")
    epsilon: PositiveFloat = Field(1e-6, description="added to both losses by log and ratio, in units of the loss")
    noise: NonNegative = Field(0.0, description="fresh, validation: deviation of normal noise added to the inputs")
    shift: float = Field(0.0, description="fresh, validation: added to all inputs, a shift of their distribution")

    @pydantic.model_validator(mode="after")
    def _outer(self) -> Term:
        if self.on == "training" and (self.noise or self.shift or self.batches != 1):
            raise ValueError("noise, shift and batches need on: fresh or on: validation")
        if self.on == "validation" and self.batches != 1:
            raise ValueError("batches is for on: fresh; on: validation takes batch_size examples")
        return self


class Imitation(Model):
    """A teacher whose steps the optimizer is to imitate."""

    teacher: str = Field(description="an optimizer; see `l2o optimizers`", examples=["adam"])
    options: dict[str, Any] = Field({}, description="its options, such as learning_rate")
    weight: float = Field(1.0, description="of log(1 + |step - teacher's step|^2 / |teacher's step|^2), mean over the steps")

    def make(self) -> Optimizer:
        """Raises BadInput if there is no such optimizer, or not with such options."""
        from l2o_cli.spec.building import make_optimizer

        return make_optimizer(self.teacher, self.options)


class Objective(Model):
    """What a truncation is judged by: a weighted sum of terms; a mapping of one term's fields, or a list of such, will do."""

    shorthand = ", fields of one term, or list of terms"

    terms: tuple[Term, ...] = Field(
        (Term(),), min_length=1, description="measures of the losses of a truncation, added up by their weights"
    )
    imitation: Imitation | None = Field(None, description="an auxiliary objective; meta-validation goes without")
    weight_decay: NonNegative = Field(0.0, description="half of this times the sum of the squared weights is added")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"terms": value}
        if isinstance(value, dict) and "terms" not in value:
            rest = {name: entry for name, entry in value.items() if name not in cls.model_fields}
            own = {name: entry for name, entry in value.items() if name in cls.model_fields}
            return {"terms": [rest], **own}
        return value
