"""How the meta-gradient is estimated."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field, PositiveFloat

from l2o_cli.spec.model import Model


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
