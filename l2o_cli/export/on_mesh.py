"""A step of JAX's over a mesh of devices, with the state divided among them.

Shape letters: P parameters (all leaves packed), D devices of the mesh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax import numpy as jnp
from jax.experimental.shard_alike import shard_alike
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


@dataclass(frozen=True)
class Division:
    """How a state lies on a mesh: what is [..., P] is filled up with zeros to a multiple of D, of which each device has a part.

    The other leaves are small, and whole on every device.
    """

    mesh: Mesh
    parameters: int

    @property
    def length(self) -> int:
        """P, filled up."""
        return self.parameters + -self.parameters % self.mesh.size

    def filled(self, tree: Any) -> Any:
        """Leaves [..., P] as [..., length]."""

        def fill(leaf: Any) -> Any:
            rest = self.length - self.parameters if leaf.shape[-1:] == (self.parameters,) else 0
            return jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, rest)]) if rest else leaf

        return jax.tree.map(fill, tree)

    def whole(self, tree: Any) -> Any:
        """The inverse."""
        return jax.tree.map(lambda leaf: leaf[..., : self.parameters] if leaf.shape[-1:] == (self.length,) else leaf, tree)

    def shardings(self, tree: Any) -> Any:
        """Of the leaves, filled up."""

        def sharding(leaf: Any) -> NamedSharding:
            divided = leaf.shape[-1:] == (self.length,)
            spec = [*[None] * (leaf.ndim - 1), self.mesh.axis_names] if divided else []
            return NamedSharding(self.mesh, PartitionSpec(*spec))

        return jax.tree.map(sharding, tree)

    def placed(self, tree: Any) -> Any:
        """Filled up, and each leaf where it belongs."""
        tree = self.filled(tree)
        return jax.device_put(tree, self.shardings(tree))


def step_on(mesh: Mesh, parameters_of: Callable[[Any], int], update: Callable) -> Callable:
    """`update(gradients, state, params, value)` -> (updates, state), where the state is divided and updates lie as their params.

    Args:
        parameters_of: P of some params.
    """

    def step(gradients: Any, state: Any, params: Any, value: Any) -> tuple[Any, Any]:
        division = Division(mesh, parameters_of(params))
        moved, state = update(gradients, division.whole(state), params, value)
        return moved, division.filled(state)

    def automatic(gradients: Any, state: Any, params: Any, value: Any) -> tuple[Any, Any]:
        moved, state = step(gradients, state, params, value)
        moved = jax.tree.map(lambda param, move: shard_alike(param, move)[1], params, moved)
        return moved, Division(mesh, parameters_of(params)).placed(state)

    def explicit(gradients: Any, state: Any, params: Any, value: Any) -> tuple[Any, Any]:
        # Here JAX wants to know of each operation how its result lies, and packing has no good answer: the compiler finds one.
        as_params = jax.tree.map(lambda param: jax.typeof(param).sharding, params)
        out = (as_params, Division(mesh, parameters_of(params)).shardings(state))
        return jax.sharding.auto_axes(step, out_sharding=out)(gradients, state, params, value)

    return jax.jit(explicit if AxisType.Explicit in mesh.axis_types else automatic)
