"""The optimizer contract: a pure update rule over many problem instances at once.

Shape letters: I instances, P parameters of one instance (all tensors packed), T tensors, F features.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
from keras import ops

from l2o_cli.optimizers.options import check_options
from l2o_cli.optimizers.packing import Array, Layout

Weights = dict[str, Array]
State = dict[str, Array]


class Optimizer(abc.ABC):
    """An update rule written once in `keras.ops`; subclasses are frozen dataclasses whose fields are their options.

    `weights` are what meta-training learns (for hand-designed optimizers: their hyperparameters); nothing of a run lives in
    the object itself, so one optimizer serves any number of problems and threads.

    Each leaf of `weights` has the shape in which `init_weights` made it, [*shape], and is shared by all instances, or has the
    instance axis in front, [I, *shape], and gives each instance its own. Every function takes both, leaf by leaf, and tells
    them apart by the rank; what it computes of an instance is what it would compute of that instance alone.

    Every leaf of `state` has the shape [F, I, N] (N is P, T or 1): the instance axis is always the second, so that
    instances can be frozen, reset, repeated and joined without knowing which optimizer they belong to.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    learned: ClassVar[bool] = False
    # Options come from YAML: a misspelt one must be an error.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def __post_init__(self) -> None:
        """Raises ValueError for an option outside of the range that its type declares (`l2o_cli.optimizers.options`)."""
        check_options(self)

    @property
    def evaluates_elsewhere(self) -> bool:
        """Whether `evaluation_point` may differ from the parameters (attention)."""
        return False

    @property
    def reads_validation_loss(self) -> bool:
        """Whether `update` is given the loss on held-out data beside the training loss."""
        return False

    @property
    def lacks_steps(self) -> bool:
        """Whether the rule works for runs of known length alone, and that is still to be told it with `over`."""
        return False

    def over(self, steps: int) -> Optimizer:
        """The rule for runs of `steps` steps, for those that go by the length of the run."""
        return self

    def with_horizons(self, state: State, horizons: Array) -> State:
        """The state of runs that are told their lengths, for rules that go by them; else it as it is.

        Args:
            horizons: [I], in steps; 0 where the length is not known.
        """
        return state

    @abc.abstractmethod
    def init_weights(self, seed: int) -> dict[str, np.ndarray]:
        """Initial weights as float32 numpy arrays, a function of `seed` alone."""

    @abc.abstractmethod
    def init_state(self, weights: Weights, layout: Layout, instances: int, seed: int) -> State:
        """The state before the first step of `instances` runs, a function of its arguments alone; runs eagerly."""

    def refresh_state(self, weights: Weights, state: State, fresh: Array) -> State:
        """Read again from the weights whatever part of the initial state is learned, where `fresh` [I] is true.

        Called inside the differentiated computation, so that learned initial states receive a meta-gradient.
        """
        return state

    def evaluation_point(self, weights: Weights, state: State, params: Array, layout: Layout) -> Array:
        """Where the next gradient is taken, [I, P]."""
        return params

    @abc.abstractmethod
    def update(
        self,
        weights: Weights,
        state: State,
        params: Array,
        gradients: Array,
        loss: Array,
        step: Array,
        layout: Layout,
    ) -> tuple[Array, State]:
        """One step.

        Args:
            weights: each leaf [*shape] or [I, *shape].
            state: as `init_state` or the previous `update` made it.
            params: [I, P].
            gradients: [I, P], taken at `evaluation_point`.
            loss: [I], at `params`, of the minibatch of the gradients. If `reads_validation_loss`: [2, I], and in the second row
                the loss of a minibatch of held-out data; that of the first row again where the problem holds nothing out.
            step: [I] int32, the number of updates made before this one.
            layout: how the tensors are packed.

        Returns:
            The new params [I, P] and the new state.
        """


def per_instance(value: Array) -> Array:
    """A leaf of the weights that is added or multiplied, shaped to broadcast against [..., I, N].

    Args:
        value: a scalar [], or [I], which becomes [I, 1]; a bias [K, 1, 1], or [I, K, 1, 1], which becomes [K, I, 1].
    """
    value = ops.convert_to_tensor(value)
    if len(value.shape) == 1:
        return value[:, None]
    return ops.transpose(value[..., 0], (1, 0, 2)) if len(value.shape) == 4 else value


def loss_for(optimizer: Optimizer, loss: Array) -> Array:
    """What an optimizer inside of another is given of the other's loss, [I] or [2, I]: the training loss, or both."""
    return loss if optimizer.reads_validation_loss or len(loss.shape) == 1 else loss[0]
