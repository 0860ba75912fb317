"""The parameter level of the hierarchical RNN in one loop over the parameters, where it is much faster: on accelerators.

The plain way computes with one array after another, each with some rows for every parameter. On an accelerator the memory
traffic of those between its operations costs many times what the arithmetic does. `plain` holds that way, and `blocks` goes it
block by block, which takes little memory. `rows` has the same formulas for single rows; `pallas` makes a kernel of these in
JAX, `compiled` has PyTorch's compiler make one. All options of the rule are in `rows`. Its `momentum_shortcut` alone, which
needs the RMS of whole tensors first, is added afterwards.

Shape letters: I instances, P parameters of one instance, T tensors, S time scales, F features, K hidden units.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from keras import backend

from l2o_cli.optimizers import blockwise
from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.packing import Array, Layout, spread

if TYPE_CHECKING:
    from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN

LEAST_PARAMETERS = 100_000  # with fewer, there is nothing to win
SWITCH = "L2O_PLAIN_UPDATES"  # set to anything, updates are computed the plain way
_COMPILED = ContextVar("compiled", default=False)  # whether PyTorch is to compile it


# Of the weights that all instances share.
RANKS = {"parameter/input": 2, "parameter/recurrent_gates": 2, "parameter/recurrent_candidate": 2, "parameter/bias": 3}
RANKS |= {"parameter/from_above": 2, "readout": 2, "decay_bias": 3, "shortcut": 2}


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
    rule: HierarchicalRNN, weights: Weights, state: State, gradients: Array, first: Array, layout: Layout
) -> ParameterLevel:
    """The parameter level, fused where that can be, else the plain way.

    Args:
        gradients: [I, P].
        first: whether it is the first step, [1, I, 1].
    """
    arguments = (rule, weights, state, gradients, first, layout)
    if gradients.shape[0] > 1 or any(len(weights[name].shape) != rank for name, rank in RANKS.items() if name in weights):
        return unfused(*arguments)  # several instances, or weights of each instance's own
    if backend.backend() == "jax" and _worthwhile(layout):
        try:
            from l2o_cli.optimizers.fused import pallas
        except ImportError:  # a JAX without Pallas for GPUs
            return unfused(*arguments)
        return pallas.parameter_level(*arguments)
    if backend.backend() == "torch" and _COMPILED.get():
        from l2o_cli.optimizers.fused import compiled

        return compiled.parameter_level(*arguments)
    return unfused(*arguments)


def unfused(
    rule: HierarchicalRNN, weights: Weights, state: State, gradients: Array, first: Array, layout: Layout
) -> ParameterLevel:
    """The plain way, block by block where parameters are very many."""
    from l2o_cli.optimizers.fused import blocks, plain  # they need what is above

    way = blocks if blockwise.possible(layout) else plain
    return way.parameter_level(rule, weights, state, gradients, first, layout)


def moves(rule: HierarchicalRNN, arguments: tuple[Any, ...], layout: Layout) -> dict[str, Array]:
    """`HierarchicalRNN.moves` of these arguments, compiled where PyTorch is to do that; XLA makes one loop of it by itself."""
    if backend.backend() == "torch" and _COMPILED.get():
        from l2o_cli.optimizers.fused import compiled

        return compiled.moves(rule, arguments, layout)
    return rule.moves(lambda values: spread(values, layout), *arguments)


@contextmanager
def compiling(wanted: bool | None, device: Any, layout: Layout) -> Iterator[None]:
    """Have PyTorch compile the updates inside, or not; None: on a CUDA device where that pays."""
    if wanted is None:
        wanted = device.type == "cuda" and find_spec("triton") is not None and _worthwhile(layout)
    token = _COMPILED.set(wanted)
    try:
        yield
    finally:
        _COMPILED.reset(token)


def _worthwhile(layout: Layout) -> bool:
    """Whether there are many parameters, and nobody wants the plain way."""
    return layout.parameters >= LEAST_PARAMETERS and not os.environ.get(SWITCH)
