"""Kill a small `l2o meta-train`, alone or with workers, `compare --workers` or `ablate` again and again, go on with it until it
is finished, and compare it with one nobody disturbed. SIGKILL reaches the command alone, as from the system when memory is short;
SIGTERM and SIGUSR1 reach all its processes, as from a cluster.

    python -m tests.kill_resume --kills 500
    python -m tests.kill_resume compare --kills 10

Prints one line and exits with 0 if all bits are the same, each signal was answered as it should be and no process was left
behind; otherwise says what differs and where the run was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.sessions import Session, processes_of

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
META_STEPS_PER_KILL = 6  # more than a run makes between two kills
PHASES = ("start", "start", "progress", "checkpoint")
SIGNALS = ("SIGKILL", "SIGTERM", "SIGUSR1")
SECONDS_TO_ANSWER = 8.0  # 5 on a machine with nothing else to do
# Columns that are not the same in every run.
TIMES = ("seconds", "compile_seconds", "step_milliseconds")


class Unequal(AssertionError):
    """Two runs that should be the same are not, or a process did not do as it should."""


class MetaTraining:
    """`l2o meta-train`, in `folder`/run."""

    tables = ("metrics.csv", "validation.csv", "horizons.csv")
    starts_children = False
    workers = False  # whether Dask's workers are among them

    def __init__(self, folder: Path, kills: int):
        self.folder, self.out = folder, folder / "run"
        spec = SPEC | {"meta_steps": META_STEPS_PER_KILL * (kills + 1)}
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec))

    def arguments(self, out: Path) -> tuple[str, ...]:
        begun = (out / "spec.yaml").exists()
        return ("meta-train", "--resume" if begun else "spec.yaml", "--out", out.name, "--no-xla")

    def started(self) -> int:
        """Changes when a run has started: the inode of metrics.csv, which is cut back then; 0 if there is none."""
        return _inode(self.out / "metrics.csv")

    def progress(self) -> int:
        return _lines(self.out / "metrics.csv")

    def saved(self) -> set[tuple[str, int]]:
        """What lies in the folder of checkpoints, by name and inode."""
        return _entries(self.out / "checkpoints")

    def compare(self, whole: Path) -> None:
        same_runs(self.out, whole)


class OnWorkers(MetaTraining):
    """`l2o meta-train --workers 2`, of which workers are killed too; undisturbed it is one process."""

    starts_children = True
    workers = True

    def arguments(self, out: Path) -> tuple[str, ...]:
        return (*super().arguments(out), *(("--workers", "2") if out == self.out else ()))


class Ablation(MetaTraining):
    """`l2o ablate` of two specs, in `folder`/run; what is watched is the run under way."""

    starts_children = True

    def __init__(self, folder: Path, kills: int):
        super().__init__(folder, kills)
        (folder / "specs").mkdir()
        shutil.move(folder / "spec.yaml", folder / "specs" / "base.yaml")
        (folder / "specs" / "log.yaml").write_text("extends: base.yaml\nobjective: {scale: log}\n")

    def arguments(self, out: Path) -> tuple[str, ...]:
        return ("ablate", "specs", "--out", out.name, "--minutes", "60", "--no-xla")

    def started(self) -> int:
        return sum(_inode(run / "metrics.csv") for run in self._runs(self.out))

    def progress(self) -> int:
        return sum(_lines(run / "metrics.csv") for run in self._runs(self.out))

    def saved(self) -> set[tuple[str, int]]:
        return set[tuple[str, int]]().union(*(_entries(run / "checkpoints") for run in self._runs(self.out)))

    def compare(self, whole: Path) -> None:
        for run in self._runs(whole):
            same_runs(self.out / run.name, run)
        if without(self.out / "ablations.csv", "minutes") != without(whole / "ablations.csv", "minutes"):
            raise Unequal("the rows of ablations.csv differ")

    def _runs(self, out: Path) -> list[Path]:
        return sorted(out.glob("*-seed-*"))


class Comparison:
    """`l2o compare --workers 2`, in `folder`/run."""

    starts_children = True
    workers = False
    asked = (
        *("--problems", "quadratic,booth,beale", "--optimizer", "lion", "--baselines", "adam,sgd,rmsprop,momentum"),
        *("--trials", "3", "--steps", "60", "--seeds", "2", "--tuning-seeds", "1", "--no-xla", "--no-report"),
    )

    def __init__(self, folder: Path, kills: int):
        self.folder, self.out = folder, folder / "run"

    def arguments(self, out: Path) -> tuple[str, ...]:
        os.environ["L2O_RUNS"] = str(out.with_name(f"{out.name}-store"))
        begun = ("--resume",) if (out / "spec.yaml").exists() else self.asked
        return ("compare", *begun, "--workers", "2", "--out", out.name)

    def started(self) -> int:
        return len(self.saved())

    def progress(self) -> int:
        return len(self.saved())

    def saved(self) -> set[tuple[str, int]]:
        return {(path.name, 0) for path in (self.folder / "run-store").rglob("*.run")}

    def compare(self, whole: Path) -> None:
        for name in ("curves.csv", "scores.csv", "tuning.csv"):
            if without(self.out / name) != without(whole / name):
                raise Unequal(f"the rows of {name} differ")


COMMANDS = {"meta-train": MetaTraining, "workers": OnWorkers, "compare": Comparison, "ablate": Ablation}


class Killed:
    """A command that is killed at chosen moments and gone on with."""

    def __init__(self, command: MetaTraining | Comparison, rng: random.Random):
        self._command, self._rng = command, rng
        self._start_seconds = 12.0 if command.starts_children else 2.0  # to the first progress, as last seen
        self.history: list[str] = []  # where it was killed

    def kill(self, phase: str, name: str) -> None:
        """Go on with the command, and send it the signal `name` in the phase."""
        command = self._command
        saved, started = command.saved(), command.started()
        began = time.monotonic()
        session = Session(command.folder, *command.arguments(command.out))
        longest = self._start_seconds  # until the blow
        if phase != "start":
            self._wait(session, lambda: command.started() != started)
        if phase == "progress":
            reached = command.progress() + self._rng.randint(1, 3)
            self._wait(session, lambda: command.progress() >= reached)
            self._start_seconds = time.monotonic() - began
            longest = 0.03
        elif phase == "checkpoint":
            self._wait(session, lambda: bool(command.saved() - saved))
            longest = 0.01
        delay = self._rng.random() * longest
        time.sleep(delay)
        self.history.append(f"{phase} + {delay:.4f} s, {name}, progress {command.progress()}")
        self._strike(session, name)

    def _strike(self, session: Session, name: str) -> None:
        if session.exit_code() == 0 and self._command.starts_children:
            return  # it was finished before
        if self._command.workers and self._rng.random() < 0.5:
            self._kill_workers(session)
        if name == "SIGUSR1":
            session.send(signal.SIGUSR1)
            time.sleep(self._rng.random() * 0.5)
            if session.exit_code() not in (None, 0):
                raise Unequal(f"SIGUSR1 ended it, exit code {session.exit_code()}: {session.log()}")
        if name == "SIGTERM":
            session.send(signal.SIGTERM)
            code = session.wait(SECONDS_TO_ANSWER)
            if code not in (143, 0):
                raise Unequal(f"exit code {code} {SECONDS_TO_ANSWER} s after SIGTERM: {session.log()}")
        else:
            session.send_to_first(signal.SIGKILL)
            session.wait(SECONDS_TO_ANSWER)
        left = session.left(SECONDS_TO_ANSWER)
        if left:
            raise Unequal(f"processes were left behind: {left}")

    def _kill_workers(self, session: Session) -> None:
        """One or more of them; others come, and the run goes on."""
        found = [process for process, text in processes_of(session.first).items() if "spawn_main" in text]
        killed = self._rng.sample(found, min(len(found), self._rng.randint(1, 2)))
        for process in killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        reached = self._command.progress() + self._rng.randint(0, 2)
        self._wait(session, lambda: self._command.progress() >= reached)
        self.history[-1] += f", after {len(killed)} workers"

    def finish(self, out: Path) -> None:
        """Make or go on with a command in `out`, to its end."""
        session = Session(self._command.folder, *self._command.arguments(out))
        if session.wait(600):
            raise Unequal(f"{out.name}: exit code {session.exit_code()}: {session.log()}")

    def _wait(self, session: Session, condition: Callable[[], bool]) -> None:
        while not condition():
            code = session.exit_code()
            if code is not None:
                if code == 0 and self._command.starts_children:
                    return
                raise Unequal(f"the run ended by itself, exit code {code}: {session.log()}")
            time.sleep(2e-4)


def same_runs(first: Path, second: Path) -> None:
    """Unequal, if two runs of meta-training differ in anything but times."""
    from l2o_cli.meta.checkpoints import Checkpoints

    weights = [(run / "artifact" / "weights.safetensors").read_bytes() for run in (first, second)]
    if weights[0] != weights[1]:
        raise Unequal("the weights of the artifacts differ")
    states = [Checkpoints(run / "checkpoints").restore(lambda *trusted: None) or {} for run in (first, second)]
    if states[0].keys() != states[1].keys():
        raise Unequal("the last checkpoints hold other leaves")
    for name, leaf in states[0].items():
        if name != "progress" and leaf.numpy().tobytes() != states[1][name].numpy().tobytes():
            raise Unequal(f"{name} of the last checkpoints differ")
    for name in MetaTraining.tables:
        if without(first / name) != without(second / name):
            raise Unequal(f"the rows of {name} differ")


def without(path: Path, *others: str) -> list[dict[str, str]]:
    """The rows of a table without what takes a different time in every run, and without other columns."""
    with path.open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name not in (*TIMES, *others)} for row in csv.DictReader(file)]


def _inode(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0


def _lines(path: Path) -> int:
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0


def _entries(folder: Path) -> set[tuple[str, int]]:
    try:
        return {(entry.name, entry.inode()) for entry in os.scandir(folder)}
    except FileNotFoundError:
        return set()


def blows(kills: int, rng: random.Random) -> list[tuple[str, str]]:
    """When to kill, and by which signal: each of the phases and signals, where there are kills enough, others at random."""
    phases, names = ([*some, *rng.choices(some, k=kills)][:kills] for some in (PHASES, SIGNALS))
    rng.shuffle(phases), rng.shuffle(names)
    return list(zip(phases, names, strict=True))


def test(kind: str, folder: Path, kills: int, seed: int) -> None:
    """Unequal, if a command that was killed so often does not end as it would have."""
    # Importing TensorFlow takes longer than all else in so small a run: do it once, before children are forked.
    from l2o_cli import runtime

    runtime.set_environment()
    runtime.quieten_python()
    import l2o_cli.comparison.run
    import l2o_cli.meta.trainer  # noqa: F401

    rng = random.Random(seed)
    command = COMMANDS[kind](folder, kills)
    killed = Killed(command, rng)
    try:
        for phase, name in blows(kills, rng):
            killed.kill(phase, name)
        killed.finish(command.out)
        killed.finish(folder / "whole")
        command.compare(folder / "whole")
    except Unequal as error:
        raise Unequal("\n".join([str(error), f"{kind}, seed {seed}; killed at:", *killed.history])) from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="meta-train")
    parser.add_argument("--kills", type=int, default=20, help="how often (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--folder", type=Path, help="where the runs are left (default: a temporary folder)")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            test(options.command, folder, options.kills, options.seed)
        except Unequal as error:
            sys.exit(f"FAILED: {error}")
    passed = time.monotonic() - began
    print(f"{options.command}: {options.kills} kills in {passed:.0f} s: every bit as in the run that nobody disturbed")


if __name__ == "__main__":
    main()
