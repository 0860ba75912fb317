"""The parameter level of the hierarchical RNN in one loop over the parameters, where it is much faster: on accelerators.

The plain way computes with one array after another, each with some rows for every parameter. On an accelerator the memory traffic of
those between its operations costs many times what the arithmetic does. `rows` holds the same formulas for single rows;
`pallas` makes them a kernel in JAX. All options of the rule are in `rows`, but for its `momentum_shortcut`, which needs the RMS of
whole tensors first: the rule adds it afterwards.

Shape letters: I instances, P parameters of one instance, T tensors, S time scales, F features, K hidden units.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from keras import backend

from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.packing import Array, Layout

if TYPE_CHECKING:
    from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN

LEAST_PARAMETERS = 100_000  # with fewer, there is nothing to win
SWITCH = "L2O_PLAIN_UPDATES"  # set to anything, every update is computed the plain way


class ParameterLevel(NamedTuple):
    """What the parameter level computes.

    Attributes:
        state: new "momenta", "squares" and hidden states "parameter", [.., I, P].
        directions: before they are divided by their RMS, [1, I, P]: of the step and, with attention, to the attended point.
        rate: what is read out for the learning rates, [1, I, P].
        means: over each tensor, of the hidden states and of the features, in parts of together K + F rows, [.., I, T]; none if no
            level is above.
    """

    state: State
    directions: list[Array]
    rate: Array
    means: list[Array]


def parameter_level(
    rule: HierarchicalRNN,
    plain: Callable[..., ParameterLevel],
    weights: Weights,
    state: State,
    gradients: Array,
    first: Array,
    layout: Layout,
) -> ParameterLevel:
    """The parameter level, fused where that can be, else the `plain` way of the same arguments.

    Args:
        gradients: [I, P].
        first: whether it is the first step, [1, I, 1].
    """
    arguments = (weights, state, gradients, first, layout)
    if backend.backend() == "jax" and _fits(weights, gradients, layout) and not os.environ.get(SWITCH):
        try:
            from l2o_cli.optimizers.fused import pallas
        except ImportError:  # a JAX without Pallas for GPUs
            return plain(*arguments)
        return pallas.parameter_level(rule, plain, *arguments)
    return plain(*arguments)


def _fits(weights: Weights, gradients: Array, layout: Layout) -> bool:
    """Whether it is one instance, with weights that have no instance axis, and large."""
    shared = len(weights["readout"].shape) == 2
    return gradients.shape[0] == 1 and shared and layout.parameters >= LEAST_PARAMETERS
