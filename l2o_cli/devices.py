"""What computes: the GPU that TensorFlow has and what follows from it; the GPUs that CUDA may use, told without TensorFlow.

All that depends on the device asks `gpu`, and all that is asked of the NVIDIA driver comes from `gpus`.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from l2o_problems.base import Problem

VISIBLE = "CUDA_VISIBLE_DEVICES"
QUERY = ("nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
ANSWERS_WITHIN = 30  # seconds; the driver may have to start the GPUs
USUAL_MEMORY = 8e9  # bytes of a machine for which the sizes of batches are made


class Gpu(NamedTuple):
    """A GPU that CUDA may use."""

    token: str  # what CUDA_VISIBLE_DEVICES calls it
    name: str
    memory: int  # bytes; 0: not known


def gpus() -> list[Gpu]:
    """Those that CUDA may use in this process, by what the driver says of them; [] without NVIDIA's driver."""
    there, chosen = _installed(), os.environ.get(VISIBLE)
    if chosen is None:
        return list(there.values())
    found = []
    for token in map(str.strip, chosen.split(",")):
        of_uuid = [one for one in there.values() if token.startswith("GPU-") and one.token.startswith(token)]
        if there and token.startswith("MIG-"):
            found.append(Gpu(token, "MIG instance", 0))
        elif token in there:
            found.append(there[token]._replace(token=token))
        elif of_uuid:
            found.append(of_uuid[0]._replace(token=token))
        else:
            break  # as CUDA does: what follows an unknown one is not used
    return found


@functools.cache
def _installed() -> dict[str, Gpu]:
    """{index: GPU} of all that the driver has."""
    import subprocess  # here: most machines have no GPU, and all commands import this

    try:
        lines = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=ANSWERS_WITHIN).stdout.splitlines()
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    rows = [[part.strip() for part in line.split(",")] for line in lines if line.count(",") == 3]
    return {index: Gpu(uuid, name, int(size) * 2**20 if size.isdigit() else 0) for index, uuid, name, size in rows}


def worker_environment(worker: int) -> dict[str, str]:
    """Environment variables that give a worker process, 0 or more, one GPU to itself, all in turn; {} where there is none."""
    there = gpus()
    return {VISIBLE: there[worker % len(there)].token} if there else {}


@functools.cache
def gpu() -> str | None:
    """The GPU that TensorFlow computes on, its first, by name and compute capability; None where it computes on the CPU."""
    import tensorflow as tf

    seen = tf.config.get_visible_devices("GPU")
    if not seen:
        return None
    details = tf.config.experimental.get_device_details(seen[0])
    name, capability = details.get("device_name", "a GPU"), details.get("compute_capability")
    return f"{name} (compute capability {'.'.join(map(str, capability))})" if capability else name


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The CPU by its name, with its cores."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {cores()} core{'s' * (cores() != 1)}"


def text() -> str:
    """What TensorFlow computes on, and the GPU that it leaves alone if there is one."""
    unused = "".join(f"; TensorFlow does not use the {one.name}" for one in gpus()[:1])
    return gpu() or processor() + unused


def compiles(problem: Problem) -> bool:
    """Whether XLA compiles loss and gradient of a problem: on a CPU where that is faster, on a GPU wherever it can."""
    return problem.xla_on_gpu if gpu() else problem.xla


def memory() -> int | None:
    """Bytes of the GPU that TensorFlow computes on, the least of several; None if there is none, or they are not known."""
    return min((one.memory for one in gpus()), default=0) or None if gpu() else None


def room() -> int:
    """How many times as much goes together as on a CPU."""
    return max(1, int((memory() or 0) / USUAL_MEMORY))


def peak_memory() -> float:
    """The most bytes that were in use: of the GPU that TensorFlow computes on, of this process elsewhere."""
    if not gpu():
        return process_peak()
    import tensorflow as tf

    return float(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def process_peak() -> float:
    """The most bytes of the machine's memory that this process has had."""
    import resource  # here: Windows has none, where the optimizers may be used all the same

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
