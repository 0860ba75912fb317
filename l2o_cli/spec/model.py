"""What all sections of a spec share."""

from __future__ import annotations

import pydantic


class Model(pydantic.BaseModel):
    """A section of a spec: unknown fields are errors, values do not change once read."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
