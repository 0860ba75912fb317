"""Kill a small meta-training run again and again, resume it until it is finished, and compare it with one nobody disturbed.

    python -m tests.kill_resume --kills 500

Prints one line and exits with 0 if all bits are the same; otherwise says what differs and where the run was killed.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

SPEC = {
    "optimizer": {"name": "hrnn", "options": {"hidden": [2], "initial_rate": [0.01, 0.1]}},
    "estimator": {"name": "pes"},
    "problems": [{"name": "quadratic", "options": {"dimension": 3}}],
    "families_per_step": 1,
    "instances": 3,
    "truncation": {"distribution": "exponential", "scale": 3, "minimum": 2, "maximum": 6},
    "horizon": {"distribution": "log_uniform", "minimum": 5, "maximum": 20},
    "meta_optimizer": {"learning_rate": 0.1},  # so high that the run goes back to its best weights
    "ema": 0.5,
    "validation": {
        "problems": [{"name": "quadratic", "options": {"dimension": 4}}],
        "every": 4,
        "steps": 5,
        "instances": 2,
        "rollback": {"margin": 0.0, "patience": 1},
    },
    "checkpoint_every": 3,
}
META_STEPS_PER_KILL = 4  # more than a run makes between two kills
PHASES = ("start", "start", "meta-step", "checkpoint")
TIMES = ("seconds", "compile_seconds")  # columns that are not the same in every run


class Unequal(AssertionError):
    """Two runs that should be the same are not."""


def fork_command(folder: Path, *arguments: str) -> int:
    """Begin `l2o` in a child of this process, which has imported everything already; its process id."""
    child = os.fork()
    if child:
        return child
    os.chdir(folder)
    with open("log", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    from l2o_cli.cli import run

    code = 70
    try:
        code = run(arguments)
        sys.stderr.flush()
    finally:
        os._exit(code)


def log_of(folder: Path) -> str:
    """The end of what the children said."""
    return (folder / "log").read_text()[-2000:]


class KilledRun:
    """The run in `folder`/run, which is killed at chosen moments and resumed."""

    def __init__(self, folder: Path, rng: random.Random):
        self._folder, self._run, self._rng = folder, folder / "run", rng
        self._start_seconds = 2.0  # to the first meta-step, as last seen
        self.history: list[str] = []  # where it was killed

    def kill(self, phase: str) -> None:
        """Go on with the run, and kill it in the phase."""
        files, table = self._checkpoints(), self._table()
        began = time.monotonic()
        child = fork_command(self._folder, *self._arguments())
        longest = self._start_seconds  # until the blow
        if phase != "start":
            self._wait(child, lambda: self._table() != table)
        if phase == "meta-step":
            reached = self._rows() + self._rng.randint(1, META_STEPS_PER_KILL - 1)
            self._wait(child, lambda: self._rows() >= reached)
            self._start_seconds = time.monotonic() - began
            longest = 0.03
        elif phase == "checkpoint":
            self._wait(child, lambda: bool(self._checkpoints() - files))
            longest = 0.01
        delay = self._rng.random() * longest
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self._check(os.WIFSIGNALED(status), status)
        self.history.append(f"{phase} + {delay:.4f} s, metrics.csv with {self._rows()} rows")

    def finish(self) -> None:
        """Go on with the run to its end, in a process that shares nothing with this one."""
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        command = [sys.executable, "-m", "l2o_cli", *self._arguments()]
        done = subprocess.run(command, cwd=self._folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise Unequal(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")

    def _arguments(self) -> tuple[str, ...]:
        begun = (self._run / "spec.yaml").exists()
        return ("meta-train", "--resume" if begun else "spec.yaml", "--out", "run", "--no-xla")

    def _wait(self, child: int, condition: Callable[[], bool]) -> None:
        while not condition():
            ended, status = os.waitpid(child, os.WNOHANG)
            self._check(not ended, status)
            time.sleep(2e-4)

    def _check(self, expected: bool, status: int) -> None:
        if not expected:
            raise Unequal(f"the run ended by itself, exit status {status}: {log_of(self._folder)}")

    def _checkpoints(self) -> set[tuple[str, int]]:
        """What lies in the folder of checkpoints, by name and inode."""
        try:
            return {(entry.name, entry.inode()) for entry in os.scandir(self._run / "checkpoints")}
        except FileNotFoundError:
            return set()

    def _table(self) -> int:
        """The inode of metrics.csv, which changes when a run has started: it is cut back then; 0 if there is none."""
        try:
            return (self._run / "metrics.csv").stat().st_ino
        except FileNotFoundError:
            return 0

    def _rows(self) -> int:
        try:
            return max(0, (self._run / "metrics.csv").read_bytes().count(b"\n") - 1)
        except FileNotFoundError:
            return 0


def compare(first: Path, second: Path) -> None:
    """Unequal, if the two runs differ in anything but times."""
    from l2o_cli.meta.checkpoints import Checkpoints

    weights = [(run / "artifact" / "weights.safetensors").read_bytes() for run in (first, second)]
    if weights[0] != weights[1]:
        raise Unequal("the weights of the artifacts differ")
    states = [Checkpoints(run / "checkpoints").restore() or {} for run in (first, second)]
    if states[0].keys() != states[1].keys():
        raise Unequal("the last checkpoints hold other leaves")
    for name, leaf in states[0].items():
        if name != "progress" and leaf.numpy().tobytes() != states[1][name].numpy().tobytes():
            raise Unequal(f"{name} of the last checkpoints differ")
    for name in ("metrics.csv", "validation.csv", "horizons.csv"):
        if rows(first / name) != rows(second / name):
            raise Unequal(f"the rows of {name} differ")


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table without what takes a different time in every run."""
    with path.open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def phases(kills: int, rng: random.Random) -> list[str]:
    """When to kill: each of the phases, where there are kills enough, and others at random."""
    chosen = [*PHASES, *rng.choices(PHASES, k=kills)][:kills]
    rng.shuffle(chosen)
    return chosen


def test(folder: Path, kills: int, seed: int) -> None:
    """Unequal, if a run that was killed so often is not the run it would have been."""
    # Importing TensorFlow takes longer than all else in so small a run: do it once, before children are forked.
    from l2o_cli import runtime

    runtime.set_environment()
    runtime.quieten_python()
    import l2o_cli.meta.trainer  # noqa: F401

    spec = SPEC | {"meta_steps": META_STEPS_PER_KILL * (kills + 1)}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    rng = random.Random(seed)
    killed = KilledRun(folder, rng)
    try:
        for phase in phases(kills, rng):
            killed.kill(phase)
        killed.finish()
        _, status = os.waitpid(fork_command(folder, "meta-train", "spec.yaml", "--out", "whole", "--no-xla"), 0)
        if status:
            raise Unequal(f"the run that nobody disturbed: exit status {status}: {log_of(folder)}")
        compare(folder / "run", folder / "whole")
    except Unequal as error:
        raise Unequal("\n".join([str(error), f"seed {seed}; killed at:", *killed.history])) from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how often (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--folder", type=Path, help="where the runs are left (default: a temporary folder)")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            test(folder, options.kills, options.seed)
        except Unequal as error:
            sys.exit(f"FAILED: {error}")
    print(f"{options.kills} kills in {time.monotonic() - began:.0f} s: every bit as in the run that nobody disturbed")


if __name__ == "__main__":
    main()
