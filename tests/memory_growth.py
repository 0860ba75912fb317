"""Whether the memory of a long meta-training run grows.

    python -m tests.memory_growth --meta-steps 20000

Prints the mean resident memory over the first and the last tenth of the meta-steps, 1000 at most, and exits with 1 if it grew by
more than 5 %.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from l2o_cli import runtime

SPEC = {
    "optimizer": {"name": "hrnn", "options": {"hidden": [4, 3, 2]}},
    "problems": [{"name": "quadratic", "options": {"dimension": 5}}],
    "families_per_step": 1,
    "instances": 4,
    "truncation": {"distribution": "log_uniform", "minimum": 2, "maximum": 8},
    "horizon": {"distribution": "log_uniform", "minimum": 8, "maximum": 64},
    "validation": {
        "problems": [{"name": "quadratic", "options": {"dimension": 6}}],
        "every": 50,
        "steps": 20,
        "instances": 2,
        "rollback": {"margin": 0.0, "patience": 2},
    },
    "checkpoint_every": 50,
}
PAGE = os.sysconf("SC_PAGE_SIZE") / 2**20  # MB
TOLERANCE = 0.05


def resident() -> float:
    """The resident memory of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meta-steps", type=int, default=20_000, help="how many (default: 20000)")
    options = parser.parse_args()
    runtime.set_environment()
    runtime.quieten_python()
    from l2o_cli.meta.trainer import Trainer
    from l2o_cli.spec import MetaTraining

    sizes: list[float] = []  # MB, after each meta-step
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        spec = MetaTraining.model_validate(SPEC | {"meta_steps": options.meta_steps})
        trainer = Trainer.open(spec, Path(folder) / "run")

        def watch(progress: object) -> None:
            sizes.append(resident())
            if len(sizes) % 1000 == 0:
                print(f"meta-step {len(sizes)}: {sizes[-1]:.1f} MB, {time.monotonic() - began:.0f} s", flush=True)

        trainer.run(watch)
    some = max(1, min(1000, len(sizes) // 10))
    first, last = statistics.fmean(sizes[:some]), statistics.fmean(sizes[-some:])
    print(f"first {some}: {first:.1f} MB, last {some}: {last:.1f} MB, growth {100 * (last / first - 1):.1f} %")
    sys.exit(last > first * (1 + TOLERANCE))


if __name__ == "__main__":
    main()
