"""`rows` as a Pallas kernel for NVIDIA's GPUs, through Triton.

Each program of the kernel takes a block of parameters of one tensor. It also sums up what the upper levels are shown means of;
the sums of the blocks are then added tensor by tensor, so that results are the same bits each time.

JAX 0.11 has this way to write kernels but calls it deprecated; a JAX without it computes the plain way.

Shape letters: P parameters, T tensors, B blocks, F features, K hidden units.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import numpy as jnp
from jax.experimental import pallas
from jax.experimental.pallas.triton import CompilerParams, load, store  # by name: a JAX without one of them has no kernel

from l2o_cli.optimizers.base import State, Weights
from l2o_cli.optimizers.fused import ParameterLevel, rows, unfused
from l2o_cli.optimizers.packing import Array, Layout, spread_values, tensor_sum

if TYPE_CHECKING:
    from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN

# Parameters of a program, a power of two, and its warps. With more than two parameters for each of the 32 threads of a warp, an
# H100 has too few registers: an earlier kernel took 18 ms for 100M parameters with 256/4, and 33 ms with 512/4, 256/2 and 1024/8.
BLOCK, WARPS = 128, 2
INTERPRET = False  # for tests: run the kernel on any device, by JAX's interpreter


def parameter_level(
    rule: HierarchicalRNN, weights: Weights, state: State, gradients: Array, first: Array, layout: Layout
) -> ParameterLevel:
    """The parameter level of one instance: on CUDA the kernel, elsewhere the plain way."""

    return _level(rule, layout, BLOCK, WARPS, INTERPRET)(weights, state, gradients, first)


@functools.lru_cache(maxsize=32)
def _level(rule: HierarchicalRNN, layout: Layout, block: int, warps: int, interpret: bool) -> Callable[..., ParameterLevel]:
    """The function of the rest, kept and compiled for those who call it outside of anything compiled."""

    def in_plain(weights: Weights, state: State, gradients: Array, first: Array) -> ParameterLevel:
        level = unfused(rule, weights, state, gradients, first, layout)
        return level._replace(means=[jnp.concatenate(level.means)] if level.means else [])

    @jax.custom_jvp
    def in_kernel(weights: Weights, state: State, gradients: Array, first: Array) -> ParameterLevel:
        return _launched(rule, weights, state, gradients, first, layout)

    @in_kernel.defjvp
    def _(primals: Any, tangents: Any) -> Any:  # a kernel has no derivative
        return jax.jvp(in_plain, primals, tangents)

    def level(*arguments: Any) -> ParameterLevel:
        return in_kernel(*arguments) if interpret else jax.lax.platform_dependent(*arguments, cuda=in_kernel, default=in_plain)

    return jax.jit(level)


def _launched(
    rule: HierarchicalRNN, weights: Weights, state: State, gradients: Array, first: Array, layout: Layout
) -> ParameterLevel:
    blocks = Layout(layout.names, tuple((-(-size // BLOCK),) for size in layout.sizes))
    numbers = jnp.arange(layout.tensors, dtype=jnp.int32)
    ends = jnp.array(list(zip(layout.offsets, layout.sizes, blocks.offsets, strict=True)), jnp.int32)
    inputs = {
        "first": first.reshape(1, 1).astype(jnp.int32),
        "ends": ends,
        "tensor": spread_values(numbers, blocks)[:, None],
        "of_tensor": rows.of_tensors(rule, weights, state, layout),
        **rows.weights_of(weights),
        **rows.leaves_of(rule, state, gradients),
    }
    shapes = {leaf: (count, layout.parameters) for leaf, count in rows.written_leaves(rule).items()}
    shapes["seen"] = (blocks.parameters, rule.hidden[0] + rule.features)
    places = {leaf: index for index, leaf in enumerate(inputs)}

    def kernel(*references: Any) -> None:
        ins = dict(zip(inputs, references, strict=False))
        outs = dict(zip(shapes, references[len(inputs) :], strict=True))
        block = pallas.program_id(0)
        tensor = ins["tensor"][block, 0]
        begin = (block - ins["ends"][tensor, 2]) * BLOCK
        inside = begin + jnp.arange(BLOCK, dtype=jnp.int32) < ins["ends"][tensor, 1]
        here = pallas.ds(ins["ends"][tensor, 0] + begin, BLOCK)

        def write(leaf: str, row: int, values: Array) -> None:
            if leaf == "seen":
                outs[leaf][block, row] = jnp.sum(jnp.where(inside, values, 0.0))
            else:
                store(outs[leaf].at[np.int32(row), here], values, mask=inside)

        rows.step(
            rule,
            lambda leaf, row: load(ins[leaf].at[np.int32(row), here], mask=inside, other=0.0),
            write,
            lambda name, row, column: ins[name][row, column],
            lambda index: ins["of_tensor"][tensor, index],
            ins["first"][0, 0] != 0,
        )

    call = pallas.pallas_call(
        kernel,
        grid=(blocks.parameters,),
        out_shape=[jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes.values()],
        # Each program reads the rows of its block before it writes them.
        input_output_aliases={places[leaf]: index for index, leaf in enumerate(shapes) if leaf in state},
        interpret=INTERPRET,
        compiler_params=None if INTERPRET else CompilerParams(num_warps=WARPS, num_stages=1),
        name="parameter_level",
    )
    out = {leaf: values[:, None] for leaf, values in zip(shapes, call(*inputs.values()), strict=True)}
    means = tensor_sum(out.pop("seen")[:, 0].T[:, None], blocks) / jnp.array(layout.sizes, jnp.float32)
    return rows.level_of(out, [means] if len(rule.hidden) > 1 else [])
