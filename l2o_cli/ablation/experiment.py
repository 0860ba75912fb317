"""The ablation experiment: specs meta-trained with the same time each, judged by the same meta-validation.

Each run is `l2o meta-train` in a process of its own, because what XLA holds in memory is given back only by the end of a process.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from l2o_cli import children, signals
from l2o_cli.ablation.results import BASE, AblationRow, outcome, read_rows, write_rows
from l2o_cli.assets import configs
from l2o_cli.errors import BadInput, Failure
from l2o_cli.files import locked
from l2o_cli.meta.run_directory import RunDirectory
from l2o_cli.signals import Interrupted
from l2o_cli.spec import MetaTraining
from l2o_cli.spec.reading import read_meta_training

LEAST_MINUTES = 0.01  # given to a run whose time was up when it was killed, to end as it should
_ASK = 0.2  # seconds between two looks at whether to stop


@dataclass(frozen=True)
class Member:
    """One run of the experiment: a spec with a seed."""

    config: Path
    settings: tuple[str, ...]  # `a.b=value`
    spec: MetaTraining
    path: Path  # of its run directory

    @property
    def name(self) -> str:
        return self.config.stem

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.spec.seed


class CurrentRun:
    """The run that is made at the moment, by a process of its own."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def save(self) -> str:
        """Have it saved, which it says itself."""
        process = self.process
        if process is None or not signals.SAVE:
            return "every run so far is saved"
        process.send_signal(signals.SAVE[0])
        return "the run under way is asked to save"


def find_folder(name: str) -> Path:
    """The folder `name`, or the one of that name among the specs that l2o ships; BadInput when there is neither."""
    for folder in (Path(name), configs() / name):
        if folder.is_dir():
            return folder
    raise BadInput(f"{name}: no such folder, nor one among the specs that l2o ships")


def members(folder: Path, out: Path, seeds: int, overrides: Sequence[str]) -> list[Member]:
    """All runs: base.yaml first, then the others by name; of each spec as many as there are seeds.

    All specs are read before the first run begins. The validation section of each is that of base.yaml, with the scores at the
    start and with an objective that does not depend on the spec.

    Raises:
        BadInput: a spec is wrong, there is no base.yaml, or a run directory holds another spec.
    """
    base = folder / f"{BASE}.yaml"
    if not base.is_file():
        raise BadInput(f"{folder}: there is no {BASE}.yaml, which the others are compared with")
    reference = read_meta_training(base, overrides)
    validation = reference.validation
    if not validation.problems:
        raise BadInput(f"{base}: validation.problems: missing; they are what the specs are compared by")
    judged = validation.model_copy(update={"start": True, "objective": validation.objective or reference.objective})
    shared = f"validation={json.dumps(judged.model_dump(mode='json'))}"
    result = []
    for seed in range(reference.seed, reference.seed + seeds):
        for config in sorted(folder.glob("*.yaml"), key=lambda file: (file != base, file.name)):
            settings = (*overrides, f"seed={seed}", shared)
            spec, path = read_meta_training(config, settings), out / f"{config.stem}-seed-{seed}"
            if (path / "spec.yaml").exists():
                RunDirectory.reopen(path, spec)
            result.append(Member(config, settings, spec, path))
    return result


def run_all(
    runs: Sequence[Member],
    out: Path,
    minutes: float,
    *,
    tell: Callable[[str], object],
    stop: Callable[[], bool] = lambda: False,
    current: CurrentRun | None = None,
    options: Sequence[str] = (),
) -> list[AblationRow]:
    """Train what is not finished yet; all rows of the table `ablations.csv` in `out`, which is written after each run.

    Args:
        minutes: for each run, what earlier commands have given it included.
        tell: called with a line before each run, and when one fails.
        stop: asked now and then; when it says so the run under way is saved and `Interrupted` raised.
        current: knows the run under way, from now on.
        options: further arguments of `l2o meta-train`.

    Raises:
        BadInput: another process makes an experiment in `out`.
        Failure: a run failed; all others were made.
    """
    table, failed = out / "ablations.csv", []
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / ".lock") as alone:
        if not alone:
            raise BadInput(f"{out}: another l2o ablate is running here")
        rows = {row.key: row for row in read_rows(table)}
        for number, member in enumerate(runs, 1):
            row = rows.get(member.key) if (member.path / "artifact").is_dir() else None
            if row is not None and (row.minutes >= minutes or row.meta_steps >= member.spec.meta_steps):
                continue
            title = f"{number} of {len(runs)}: {member.name}, seed {member.spec.seed}"
            left = max(LEAST_MINUTES, minutes - _minutes_spent(row, member))
            tell(f"{title}, {left:.3g} of {minutes:g} minutes")
            code = _train(member, left, stop, current or CurrentRun(), options)
            if stop():
                raise Interrupted
            if code:
                failed.append(f"{member.name} (seed {member.spec.seed})")
                tell(f"{title} failed with exit code {code}")
                continue
            rows[member.key] = outcome(*member.key, minutes, member.path)
            write_rows(table, rows.values())
    if failed:
        raise Failure(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; the same command tries them again")
    return list(rows.values())


def _minutes_spent(row: AblationRow | None, member: Member) -> float:
    """The minutes that a run has had: those of its row, and of the meta-steps after it that a checkpoint keeps.

    What a kill has lost does not count, and neither does the start-up before it, since that of the process that goes on does.
    """
    minutes, meta_steps = (row.minutes, row.meta_steps) if row else (0.0, 0)
    return minutes + RunDirectory(member.path, member.spec).seconds_kept(meta_steps) / 60


def _train(member: Member, minutes: float, stop: Callable[[], bool], current: CurrentRun, options: Sequence[str]) -> int:
    """Begin the run or go on with it in a process of its own; its exit code."""
    resume = ["--resume"] if (member.path / "spec.yaml").exists() else []
    settings = [part for setting in member.settings for part in ("--set", setting)]
    arguments = [str(member.config), *resume, "--out", str(member.path), "--minutes", f"{minutes:g}", *settings, *options]
    child = current.process = children.begin(
        "from l2o_cli import children, cli, signals; signals.of_a_child(); children.end_with_parent(); cli.main()",
        ("meta-train", *arguments),
        stdout=subprocess.DEVNULL,
        stderr=sys.stderr,
        # Ctrl-C reaches this process alone, which passes it on.
        process_group=0,
    )
    stopping = False
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(_ASK)
            if stop() and not stopping:
                stopping = True
                child.send_signal(signals.STOP[0])
    finally:
        current.process = None
        if child.poll() is None:
            child.kill()
            child.wait()
