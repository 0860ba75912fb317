"""What all sections of a spec share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pydantic
from pydantic import Field

from l2o_cli.spec.strict import check_kinds

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Model(pydantic.BaseModel):
    """A section of a spec: unknown fields are errors, numbers are finite, values do not change once read."""

    shorthand: ClassVar[str] = ""  # what may be written in its place, as it goes on after `section`

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _of_their_kinds(cls, content: Any) -> Any:
        if isinstance(content, dict):
            check_kinds(cls, content)
        return content


class TransformSpec(Model):
    """A transformation around a problem or an optimizer."""

    name: str = Field(description="see `l2o problems --transforms` and `l2o optimizers --transforms`")
    options: dict[str, Any] = Field({}, description="its settings; what is not given is as listed there")


@dataclass(frozen=True)
class Besides:
    """Marks a list: sections of which kinds may be written in it, besides those that are read."""

    models: tuple[type[Model], ...]

    def __get_pydantic_json_schema__(self, core: Any, handler: pydantic.GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        return {
            **schema,
            "items": {"anyOf": [schema["items"], *(handler(model.__pydantic_core_schema__) for model in self.models)]},
        }
