"""The ablation experiment: specs meta-trained with the same time each, judged by the same meta-validation.

Each run is `l2o meta-train` in a process of its own, because what XLA holds in memory is given back only by the end of a process.
This process or a worker begins it, waits for it, and passes signals on.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from l2o_cli import children, signals
from l2o_cli.ablation.results import BASE, AblationRow, outcome, read_rows, write_rows
from l2o_cli.assets import configs
from l2o_cli.errors import BadInput, Failure
from l2o_cli.executor import jobs
from l2o_cli.executor.cluster import Cluster
from l2o_cli.executor.jobs import Job
from l2o_cli.files import locked
from l2o_cli.meta.run_directory import RunDirectory
from l2o_cli.signals import Interrupted
from l2o_cli.spec import MetaTraining
from l2o_cli.spec.reading import read_meta_training
from l2o_cli.stages import Stages, Stopped

LEAST_MINUTES = 0.01  # given to a run whose time was up when it was killed, to end as it should
LOCK = ".lock"  # held in the folder of an experiment while it is made
_LOOK = 0.2  # seconds between two looks at whether to stop
_PATIENCE = 7.0  # seconds in which runs on workers are to be saved


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

    @property
    def absolute(self) -> Member:
        """It, for a process in another folder."""
        return replace(self, config=self.config.absolute(), path=self.path.absolute())


class _Current:
    """The run that is made at the moment, by a process that this one began."""

    process: subprocess.Popen[bytes] | None = None


def save(cluster: Cluster | None = None) -> str:
    """Have the runs under way saved, which they say themselves.

    Args:
        cluster: whose workers make them; None: this process does.
    """
    if cluster is not None and signals.SAVE:
        cluster.client.run(save, on_error="ignore")
        return "the runs under way are asked to save"
    process = _Current.process
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
    stages: Stages,
    *,
    cluster: Cluster | None = None,
    options: Sequence[str] = (),
) -> list[AblationRow]:
    """Train what is not finished yet; all rows of the table `ablations.csv` in `out`, which is written after each run.

    Args:
        minutes: for each run, what earlier commands have given it included.
        stages: told before each run, and when one fails; when it stops, the runs under way are saved and `Interrupted` raised.
        cluster: whose workers make the runs, each one at a time; None: they are made one after the other.
        options: further arguments of `l2o meta-train`.

    Raises:
        BadInput: another process makes an experiment in `out`.
        Failure: a run failed; all others were made.
    """
    table, failed, work = out / "ablations.csv", [], list[Job]()
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK) as alone:
        if not alone:
            raise BadInput(f"{out}: another l2o ablate is running here")
        rows = {row.key: row for row in read_rows(table)}
        order = list(dict.fromkeys([*rows, *(member.key for member in runs)]))
        for number, member in enumerate(runs, 1):
            row = rows.get(member.key) if (member.path / "artifact").is_dir() else None
            if row is None or (row.minutes < minutes and row.meta_steps < member.spec.meta_steps):
                title = f"{number} of {len(runs)}: {member.name}, seed {member.spec.seed}"
                given = member if cluster is None else member.absolute
                work.append(Job(title, make, (given, title, row, minutes, options, cluster is not None)))
        try:
            with closing(jobs.run(work, stages, cluster, patience=_PATIENCE)) as ended:
                for job, (code, said) in ended:
                    stages.check()
                    done: Member = job.arguments[0]
                    if code:
                        failed.append(f"{done.name} (seed {done.spec.seed})")
                        stages.tell(f"{job.title} failed with exit code {code}{said}")
                        continue
                    rows[done.key] = outcome(*done.key, minutes, done.path)
                    write_rows(table, [rows[key] for key in order if key in rows])
        except Stopped:
            raise Interrupted from None
    if failed:
        raise Failure(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; the same command tries them again")
    return [rows[key] for key in order if key in rows]


def make(
    member: Member, title: str, row: AblationRow | None, minutes: float, options: Sequence[str], apart: bool, *, stages: Stages
) -> tuple[int, str]:
    """Make a run or go on with it: its exit code, and where it is `apart` what it said at last.

    Args:
        row: what was known of it before.
        apart: on a worker, where nobody reads what it says.
    """
    if apart and not (member.path.parent / LOCK).exists():
        raise Failure(f"{member.path.parent}: {socket.gethostname()} does not see this folder; workers need a shared file system")
    left = max(LEAST_MINUTES, minutes - _minutes_spent(row, member))
    stages.tell(f"{title}, {left:.3g} of {minutes:g} minutes")
    if not apart:
        return _train(member, left, options, stages), ""
    with tempfile.TemporaryFile(dir=jobs.scratch()) as said:
        code = _train(member, left, options, stages, said)
        said.seek(0)
        return code, "".join(f": {line}" for line in said.read().decode(errors="replace").splitlines()[-1:])


def _minutes_spent(row: AblationRow | None, member: Member) -> float:
    """The minutes that a run has had: those of its row, and of the meta-steps after it that a checkpoint keeps.

    What a kill has lost does not count, and neither does the start-up before it, since that of the process that goes on does.
    """
    minutes, meta_steps = (row.minutes, row.meta_steps) if row else (0.0, 0)
    return minutes + RunDirectory(member.path, member.spec).seconds_kept(meta_steps) / 60


def _train(member: Member, minutes: float, options: Sequence[str], stages: Stages, said: IO[bytes] | None = None) -> int:
    """Begin the run or go on with it in a process of its own, which says what it does in a file or to the user; its exit code."""
    resume = ["--resume"] if (member.path / "spec.yaml").exists() else []
    settings = [part for setting in member.settings for part in ("--set", setting)]
    arguments = [str(member.config), *resume, "--out", str(member.path), "--minutes", f"{minutes:g}", *settings, *options]
    child = _Current.process = children.begin(
        # A worker ignores signals, which a process that it begins is to answer.
        f"from l2o_cli import children, cli, signals; {'signals.heed(); ' if said else ''}"
        "signals.of_a_child(); children.end_with_parent(); cli.main()",
        ("meta-train", *arguments),
        stdout=subprocess.DEVNULL,
        stderr=said or sys.stderr,
        # Ctrl-C reaches this process alone, which passes it on.
        process_group=0,
    )
    stopping = False
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(_LOOK)
            try:
                if not stopping:
                    stages.check()
            except Stopped:
                stopping = True
                child.send_signal(signals.STOP[0])
    finally:
        _Current.process = None
        if child.poll() is None:
            child.kill()
            child.wait()
