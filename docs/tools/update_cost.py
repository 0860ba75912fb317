"""What one update of very many parameters costs: time and memory, in JAX or PyTorch, on a GPU or a CPU.

    python -m docs.tools.update_cost --backend jax --parameters 100000000 --optimizers adam,hrnn,adafactor_mlp,tensor_rnn

prints a line of JSON for each optimizer. With `--launches 128/2,256/8` the fused kernel of `hrnn` in JAX is measured once for
each of those numbers of parameters and warps of a program; with `--plain` the update without it.

The parameters are six square matrices and two vectors. `temporaries_gib` is what an update needs beside params, gradients and
state: in JAX by the compiler's account, in PyTorch what the allocator's peak was above what is held, with the new params and
state in it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

MATRICES, VECTORS = 6, 2
SMALL = (48, 49, 50)  # widths at which the leaves of a state are really made
STEPS = 1000  # of the run, for optimizers that go by its length
GIB = 2**30


def layout_of(width: int) -> Any:
    from l2o_cli.optimizers.packing import Layout

    vectors = {f"bias_{index}": (width,) for index in range(VECTORS)}
    return Layout.of({f"kernel_{index}": (width, width) for index in range(MATRICES)} | vectors)


def leaves_of(rule: Any, weights: dict[str, Any], width: int) -> dict[str, tuple[tuple[int, ...], str, float]]:
    """The shape, type and mean of each leaf of the state, without making it: its length is a polynomial of the width."""
    made = [rule.init_state(weights, layout_of(small), 1, 0) for small in SMALL]
    leaves = {}
    for name, leaf in made[0].items():
        first, second, third = (int(np.shape(state[name])[-1]) for state in made)
        steps = width - SMALL[0]
        length = first + steps * (second - first) + steps * (steps - 1) // 2 * (third - 2 * second + first)
        value = np.asarray(leaf)
        leaves[name] = ((*value.shape[:-1], length), value.dtype.name, float(value.astype(np.float32).mean()))
    return leaves


def in_jax(rule: Any, weights: dict[str, Any], width: int, repeats: int) -> dict[str, Any]:
    import jax
    from jax import numpy as jnp

    layout = layout_of(width)
    weights = {name: jnp.asarray(leaf) for name, leaf in weights.items()}
    state = {name: jnp.full(shape, value, kind) for name, (shape, kind, value) in leaves_of(rule, weights, width).items()}
    params, gradients = 0.02 * jax.random.normal(jax.random.key(0), (2, 1, layout.parameters))
    loss, step = jnp.ones((2, 1) if rule.reads_validation_loss else 1), jnp.full(1, 5, jnp.int32)

    def update(state: Any, params: Any, gradients: Any) -> Any:
        new, leaves = rule.update(weights, state, params, gradients, loss, step, layout)
        return {name: leaves[name] for name in state}, new

    begin = time.perf_counter()
    compiled = jax.jit(update, donate_argnums=(0, 1)).lower(state, params, gradients).compile()
    seconds = time.perf_counter() - begin
    bytes_of_state = sum(leaf.nbytes for leaf in state.values())

    def once() -> None:
        nonlocal state, params
        state, params = compiled(state, params, gradients)
        jax.block_until_ready((state, params))

    memory = compiled.memory_analysis()
    return {
        "median_ms": median_ms(once, repeats),
        "temporaries_gib": memory.temp_size_in_bytes / GIB,
        "bytes_of_state": bytes_of_state,
        "compile_s": seconds,
        "device": jax.devices()[0].device_kind,
        "version": jax.__version__,
    }


def in_torch(rule: Any, weights: dict[str, Any], width: int, repeats: int, compiled: bool | None) -> dict[str, Any]:
    import keras
    import torch

    from l2o_cli.optimizers import fused

    device, layout = torch.device("cuda:0" if torch.cuda.is_available() else "cpu"), layout_of(width)
    on_gpu = device.type == "cuda"
    with torch.no_grad(), keras.device(str(device)), fused.compiling(compiled, device, layout):
        leaves = leaves_of(rule, weights, width)
        state = {
            name: torch.full(shape, value, dtype=getattr(torch, kind), device=device)
            for name, (shape, kind, value) in leaves.items()
        }
        weights = {name: torch.as_tensor(np.asarray(leaf), device=device) for name, leaf in weights.items()}
        params, gradients = (0.02 * torch.randn(1, layout.parameters, device=device) for _ in range(2))
        loss = torch.ones((2, 1) if rule.reads_validation_loss else 1, device=device)
        step = torch.full((1,), 5, dtype=torch.int32, device=device)

        def once() -> None:
            nonlocal state, params
            params, state = rule.update(weights, state, params, gradients, loss, step, layout)
            if on_gpu:
                torch.cuda.synchronize()

        begin = time.perf_counter()
        once()
        seconds = time.perf_counter() - begin
        held = 0
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
        return {
            "median_ms": median_ms(once, repeats),
            "temporaries_gib": (torch.cuda.max_memory_allocated() - held) / GIB if on_gpu else None,
            "peak_gib": torch.cuda.max_memory_allocated() / GIB if on_gpu else None,
            "bytes_of_state": sum(leaf.nbytes for leaf in state.values()),
            "first_s": seconds,
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "version": torch.__version__,
        }


def median_ms(once: Callable[[], None], repeats: int) -> float:
    once()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        once()
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


def measured(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One record for each optimizer, and for each launch of a kernel."""
    from l2o_cli.errors import BadInput
    from l2o_cli.export.resolve import resolve

    width = max(2, math.isqrt(arguments.parameters // MATRICES))
    for name in arguments.optimizers.split(","):
        try:
            loaded = resolve(name)
        except BadInput:  # a learned one of which nothing is published
            loaded = resolve(f"{name}:untrained")
        rule, weights = loaded.optimizer.over(STEPS), dict(loaded.weights)
        for launch in arguments.launches.split(",") if name.startswith("hrnn") else [""]:
            record = {"optimizer": name, "backend": arguments.backend, "parameters": layout_of(width).parameters}
            if launch:
                from l2o_cli.optimizers.fused import pallas

                pallas.BLOCK, pallas.WARPS = (int(number) for number in launch.split("/"))
                record["launch"] = launch
            try:
                if arguments.backend == "jax":
                    record |= in_jax(rule, weights, width, arguments.repeats)
                else:
                    record |= in_torch(rule, weights, width, arguments.repeats, False if arguments.plain else arguments.compile)
            except (
                Exception
            ) as error:  # out of memory, or a kernel that this device cannot run: the others are measured all the same
                record["error"] = repr(error)[:500]
            yield record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["jax", "torch"], required=True)
    parser.add_argument("--parameters", type=int, default=100_000_000)
    parser.add_argument("--optimizers", default="adam,hrnn,adafactor_mlp,tensor_rnn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--launches", default="", metavar="BLOCK/WARPS,...", help="of the fused kernel in JAX")
    parser.add_argument("--plain", action="store_true", help="nothing fused")
    parser.add_argument("--compile", action="store_true", default=None, help="in PyTorch, on a CPU too")
    parser.add_argument("--out", type=Path, help="a file to which the lines are written too")
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    if arguments.plain:
        os.environ["L2O_PLAIN_UPDATES"] = "1"
    lines = []
    for record in measured(arguments):
        lines.append(json.dumps(record))
        print(lines[-1], flush=True)
        if arguments.out:
            from l2o_cli.files import write_atomically

            write_atomically(arguments.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
