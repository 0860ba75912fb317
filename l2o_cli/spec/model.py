"""What all sections of a spec share."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import Field

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Model(pydantic.BaseModel):
    """A section of a spec: unknown fields are errors, values do not change once read."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class TransformSpec(Model):
    """A transformation around a problem or an optimizer."""

    name: str
    options: dict[str, Any] = {}
