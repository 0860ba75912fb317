"""`rows` compiled by PyTorch: Inductor makes one kernel of it, with Triton on a GPU and in C++ on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.fused import ParameterLevel, rows
from l2o_cli.optimizers.packing import Array, Layout, tensor_sum

if TYPE_CHECKING:
    from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN

# Inductor's own limit, 64, would make some kernels of it, with forty rows stored in between.
OPTIONS = {"max_fusion_size": 10_000}


def parameter_level(
    rule: HierarchicalRNN, weights: Weights, state: State, gradients: Array, first: Array, layout: Layout
) -> ParameterLevel:
    """The parameter level of one instance; the first call compiles, as do calls for another rule, and the next layout."""
    of_tensors = rows.of_tensors(rule, weights, state, layout)
    leaves = rows.leaves_of(rule, state, gradients)
    made = _compiled(rule)(
        rows.weights_of(weights), leaves, of_tensors, _tensor_numbers(layout, gradients.device), first.reshape(())
    )
    written = {leaf: values[:, None] for leaf, values in made.items()}
    seen = written.pop("seen", None)
    sizes = torch.tensor(layout.sizes, device=gradients.device)
    parts = [] if seen is None else [written["parameter"], seen]
    return rows.level_of(written, [tensor_sum(part, layout) / sizes for part in parts])


def moves(rule: HierarchicalRNN, arguments: tuple[Any, ...], layout: Layout) -> dict[str, torch.Tensor]:
    """`HierarchicalRNN.moves` of these arguments."""
    return _compiled_moves(rule)(_tensor_numbers(layout, arguments[1].device), *arguments)


@functools.lru_cache(maxsize=4)
def _tensor_numbers(layout: Layout, device: torch.device) -> torch.Tensor:
    """The tensor of each parameter, [P]."""
    return torch.repeat_interleave(
        torch.arange(layout.tensors, dtype=torch.int32, device=device), torch.tensor(layout.sizes, device=device)
    )


@functools.cache
def _compiled(rule: HierarchicalRNN) -> Callable[..., dict[str, torch.Tensor]]:
    """From what `rows.step` reads to what it writes, [rows, P]; "seen" without the hidden states, and if a level is above."""

    def step(weights: Any, leaves: Any, of_tensors: Any, tensor: Any, first: Any) -> dict[str, torch.Tensor]:
        counts = rows.written_leaves(rule)
        written: dict[str, list[Any]] = {leaf: [None] * count for leaf, count in counts.items()}
        units = rule.hidden[0]
        if len(rule.hidden) > 1:
            written["seen"] = [None] * rule.features

        def write(leaf: str, row: int, values: Any) -> None:
            if leaf != "seen":
                written[leaf][row] = values
            elif leaf in written and row >= units:
                written[leaf][row - units] = values

        rows.step(
            rule,
            lambda leaf, row: leaves[leaf][row],
            write,
            lambda name, row, column: weights[name][row, column],
            lambda index: of_tensors[:, index][tensor],
            first,
        )
        return {leaf: torch.stack(values) for leaf, values in written.items()}

    return torch.compile(step, fullgraph=True, options=OPTIONS)


@functools.cache
def _compiled_moves(rule: HierarchicalRNN) -> Callable[..., dict[str, torch.Tensor]]:
    def moves(tensor: Any, *arguments: Any) -> dict[str, torch.Tensor]:
        return rule.moves(lambda values: values[..., tensor], *arguments)

    return torch.compile(moves, fullgraph=True, options=OPTIONS)
