"""An optimizer in a spec, in a card or on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pydantic
from pydantic import Field

from l2o_cli.spec.model import Model, TransformSpec
from l2o_cli.spec.text import parse_parts, part_text

if TYPE_CHECKING:
    from l2o_cli.optimizers.base import Optimizer


class OptimizerSpec(Model):
    """An optimizer: its name, options, and transformations around it; `name(option=value)+transformation(...)` will do."""

    shorthand = " or text"

    name: str = Field(description="see `l2o optimizers`; a learned one where it is to be meta-trained", examples=["hrnn"])
    options: dict[str, Any] = Field({}, description="its switches and sizes; `l2o optimizers NAME` lists them")
    transforms: tuple[TransformSpec, ...] = Field(
        (), description="transformations around it, the innermost first; see `l2o optimizers --transforms`"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _parsed(cls, value: Any) -> Any:
        return parse_parts(value, "optimizer") if isinstance(value, str) else value

    @classmethod
    def of(cls, optimizer: Optimizer) -> OptimizerSpec:
        """What makes an equal optimizer, all options written out as plain values."""
        from l2o_cli.optimizers.transforms import layers

        rule, *transforms = [{"name": layer.name, "options": _options_of(layer)} for layer in layers(optimizer)]
        return cls.model_validate({**rule, "transforms": transforms})

    def make(self) -> Optimizer:
        from l2o_cli.spec.building import make_optimizer

        return make_optimizer(**self.model_dump())

    @property
    def plain(self) -> dict[str, Any]:
        """Its fields as plain values; `transforms` only if there are any."""
        fields = self.model_dump()
        return fields if self.transforms else {name: fields[name] for name in ("name", "options")}

    @property
    def title(self) -> str:
        """`adam(learning_rate=0.01)+clipping(norm=1.0)`."""
        parts: list[OptimizerSpec | TransformSpec] = [self, *self.transforms]
        return "+".join(part_text(part.name, part.options) for part in parts)


def _options_of(layer: Optimizer) -> dict[str, Any]:
    fields = pydantic.TypeAdapter(type(layer)).dump_python(layer, mode="json", exclude={"inner"})
    return dict(fields)
