"""What all sections of a spec share."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import Field

from l2o_cli.spec.strict import check_kinds

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Model(pydantic.BaseModel):
    """A section of a spec: unknown fields are errors, numbers are finite, values do not change once read."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _of_their_kinds(cls, content: Any) -> Any:
        if isinstance(content, dict):
            check_kinds(cls, content)
        return content


class TransformSpec(Model):
    """A transformation around a problem or an optimizer."""

    name: str
    options: dict[str, Any] = {}
