"""What all transformations of optimizers share: they are the inner optimizer in everything they do not change.

Shape letters: I instances, P parameters of one instance.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers import blockwise
from l2o_cli.optimizers.base import Optimizer, State, Weights, per_instance
from l2o_cli.optimizers.blockwise import Arrays
from l2o_cli.optimizers.options import check_option
from l2o_cli.optimizers.packing import Array, Layout


def layers(optimizer: Optimizer) -> list[Optimizer]:
    """The update rule, then the transformations around it, the innermost first."""
    return [*layers(optimizer.inner), optimizer] if isinstance(optimizer, Transform) else [optimizer]


def names_of(optimizer: Optimizer) -> str:
    """The names of the update rule and of the transformations around it: `adam+clipping`."""
    return "+".join(layer.name for layer in layers(optimizer))


def check_hyperparameter(optimizer: Optimizer, name: str, value: Any) -> None:
    """ValueError if the value is out of the range of a hyperparameter: of the update rule, or "TRANSFORMATION/option"."""
    place, _, option = name.rpartition("/")
    rule, *transforms = layers(optimizer)
    for layer in transforms if place else [rule]:
        if not place or layer.name == place:
            check_option(type(layer), option, value)


def _of_inner(name: str) -> Any:
    return property(lambda transform: getattr(transform.inner, name))


@dataclass(frozen=True)
class Transform(Optimizer):
    """An optimizer that is `inner` in everything its subclass does not change.

    The weights and the state of the inner optimizer keep their names. What the transformation itself keeps in the state has its
    name in front, "NAME/leaf". Its numeric options are hyperparameters, in the weights as "NAME/option", around a hand-designed
    optimizer; around a learned one they are constants, which meta-training leaves alone.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False, "arbitrary_types_allowed": True}
    constants: ClassVar[tuple[str, ...]] = ()  # numeric options that are never hyperparameters

    inner: Optimizer

    learned = _of_inner("learned")  # of a class elsewhere, here of the inner optimizer
    evaluates_elsewhere = _of_inner("evaluates_elsewhere")
    reads_validation_loss = _of_inner("reads_validation_loss")
    lacks_steps = _of_inner("lacks_steps")

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.inner, Optimizer):
            raise TypeError(f"{self.name} transforms an optimizer, but got {self.inner!r}")
        if self.name in [layer.name for layer in layers(self.inner)]:
            raise ValueError(f"{self.name} is already around {names_of(self.inner)!r}")

    def over(self, steps):
        return dataclasses.replace(self, inner=self.inner.over(steps))

    def with_horizons(self, state, horizons):
        return self.joined(self.inner.with_horizons(self.inner_state(state), horizons), self.own_state(state))

    def init_weights(self, seed):
        own = {} if self.learned else {f"{self.name}/{option}": np.float32(value) for option, value in self._numbers().items()}
        return {**self.inner.init_weights(seed), **own}

    def init_state(self, weights, layout, instances, seed):
        return self.joined(self.inner.init_state(weights, layout, instances, seed), self.init_own_state(layout, instances))

    def refresh_state(self, weights, state, fresh):
        return self.joined(self.inner.refresh_state(weights, self.inner_state(state), fresh), self.own_state(state))

    def evaluation_point(self, weights, state, params, layout):
        return self.inner.evaluation_point(weights, self.inner_state(state), params, layout)

    def update(self, weights, state, params, gradients, loss, step, layout):
        inner = self.inner_state(state)
        new_params, inner = self.inner.update(weights, inner, params, gradients, loss, step, layout)
        return new_params, self.joined(inner, self.own_state(state))

    def init_own_state(self, layout: Layout, instances: int) -> State:
        """What the transformation itself keeps from step to step, before the first one; leaves [F, I, N]."""
        return {}

    def inner_state(self, state: State) -> State:
        return {name: leaf for name, leaf in state.items() if not name.startswith(f"{self.name}/")}

    def own_state(self, state: State) -> State:
        """The transformation's own leaves, without its name in front."""
        return {name.removeprefix(f"{self.name}/"): leaf for name, leaf in state.items() if name.startswith(f"{self.name}/")}

    def joined(self, inner: State, own: State) -> State:
        return {**inner, **{f"{self.name}/{name}": leaf for name, leaf in own.items()}}

    def option(self, weights: Weights, name: str) -> Array:
        """The value of a numeric option, shaped to broadcast against [I, P]."""
        return per_instance(np.float32(getattr(self, name)) if self.learned else weights[f"{self.name}/{name}"])

    def _numbers(self) -> dict[str, float]:
        """The numeric options that may be hyperparameters."""
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "inner"}
        return {
            name: value
            for name, value in options.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name not in self.constants
        }


def scaled_steps(params: Array, new_params: Array, factors: Array, layout: Layout) -> Array:
    """params + factor * (new params - params), with a factor for each instance, [I, 1], or for each tensor, [1 or I, T]."""
    of_tensors = {"factors": factors[None]} if factors.shape[-1] == layout.tensors else {}

    def formulas(spread: Callable[[Array], Array], given: Arrays) -> blockwise.Result:
        own = spread(given["factors"]) if of_tensors else factors
        return {"new": given["params"] + own * (given["new"] - given["params"])}, {}

    given = {"params": params[None], "new": new_params[None]}
    return blockwise.compute(formulas, given, of_tensors, layout, in_place=True)[0]["new"][0]


@dataclass(frozen=True)
class ScaledSteps(Transform):
    """A transformation that multiplies each step, new params - params, by a factor.

    The way from the params to the point of the next gradient (attention) is a step too. Its factor is that of the step just
    made, which the state keeps as [1, I, 1] where it is needed.
    """

    @abstractmethod
    def factor(self, weights: Weights, state: State, step: Array) -> Array:
        """What the step after `step` [I] updates is multiplied by, [I, 1]; `state` is the transformation's own."""

    def init_own_state(self, layout, instances):
        return {"factor": np.ones((1, instances, 1), np.float32)} if self.evaluates_elsewhere else {}

    def evaluation_point(self, weights, state, params, layout):
        point = super().evaluation_point(weights, state, params, layout)
        return params + self.own_state(state)["factor"][0] * (point - params) if self.evaluates_elsewhere else point

    def update(self, weights, state, params, gradients, loss, step, layout):
        own = self.own_state(state)
        factor = self.factor(weights, own, step)
        new_params, state = super().update(weights, state, params, gradients, loss, step, layout)
        if self.evaluates_elsewhere:
            own = {**own, "factor": ops.broadcast_to(factor, (step.shape[0], 1))[None]}
        return scaled_steps(params, new_params, factor, layout), self.joined(self.inner_state(state), own)
