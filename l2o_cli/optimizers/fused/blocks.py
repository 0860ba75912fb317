"""The plain way of one block of parameters after another, so that what it has in between takes little memory.

The features, gates and hidden states of all parameters of a large network together are several times the state. Block by
block they stay in a processor's cache, and an update takes hardly more memory than its state and the new one.

Shape letters: I instances, P parameters of one instance, T tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from keras import ops

from l2o_cli.optimizers import blockwise, log_rates
from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.fused import ParameterLevel, plain, rows
from l2o_cli.optimizers.packing import Array, Layout

if TYPE_CHECKING:
    from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN

READ = (*rows.KEPT, "log_rate", "tensor")  # leaves of the state that are of parameters or of tensors


def parameter_level(
    rule: HierarchicalRNN, weights: Weights, state: State, gradients: Array, first: Array, layout: Layout
) -> ParameterLevel:
    """The parameter level of any number of instances."""
    read = {leaf: state[leaf] for leaf in READ if leaf in state} | {"gradients": gradients[None]}
    rate_mean = log_rates.means(state["log_rate"], rule.relative_rate, layout)
    if rate_mean is not None and rate_mean.shape[-1] == layout.tensors:
        read["rate_mean"] = rate_mean

    def formulas(_: Callable[[Array], Array], given: State) -> blockwise.Result:
        own, block = {**state, **given}, Layout(("block",), ((given["gradients"].shape[-1],),))
        mean = own.get("rate_mean", rate_mean)
        level = plain.parameter_level(rule, weights, own, given["gradients"][0], first, block, mean, lambda values, _: values)
        written = {**level.state, "directions": ops.concatenate(level.directions, axis=0), "rate": level.rate}
        return written, {str(index): part for index, part in enumerate(level.means)}

    of_parameters, of_tensors = (
        {name: leaf for name, leaf in read.items() if leaf.shape[-1] == count} for count in (layout.parameters, layout.tensors)
    )
    written, means = blockwise.by_block(formulas, of_parameters, of_tensors, layout)
    return rows.level_of(written, list(means.values()))
