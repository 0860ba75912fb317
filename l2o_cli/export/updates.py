"""The update of a rule for variables of given shapes; compiled, one for all models of such shapes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from l2o_cli.graph import Graph
from l2o_cli.optimizers.base import Optimizer, State, Weights
from l2o_cli.optimizers.packing import Layout

KEPT = 64  # compiled updates that are kept for the models to come

Update = Callable[[Weights, State, Any, Any, Any, Any], tuple[Any, State]]


def update_of(rule: Optimizer, layout: Layout) -> Update:
    """`rule.update` for one layout."""

    def update(weights: Weights, state: State, params: Any, gradients: Any, loss: Any, step: Any) -> tuple[Any, State]:
        return rule.update(weights, state, params, gradients, loss, step, layout)

    return update


@functools.lru_cache(maxsize=KEPT)
def compiled_update_of(rule: Optimizer, layout: Layout) -> Update:
    """The same compiled with XLA, which never frees what it has compiled: 20 MB of a small learned optimizer."""
    return Graph(update_of(rule, layout), f"update {rule} {layout}", xla=True)
