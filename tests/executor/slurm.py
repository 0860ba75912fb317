"""Stand-ins for SLURM's `sbatch`, `srun`, `scontrol` and `scancel` that start local processes.

`sbatch` starts one job or the tasks of an array, and `srun` one task for each "node". They refuse what SLURM would refuse here:
signals and requeues that the script did not ask for.

    commands(folder)                     # writes them into folder/bin
    python slurm.py sbatch SCRIPT ...    # as they call this file; what is known of jobs lies in $STAND_IN_JOBS
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "scontrol", "scancel")
NODES = 2
_NONE = subprocess.DEVNULL


def commands(folder: Path) -> dict[str, str]:
    """Write the stand-ins; the environment variables by which they are found, and with which scripts run here."""
    for place in ("bin", "jobs", "disk"):
        (folder / place).mkdir()
    for name in COMMANDS:
        file = folder / "bin" / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{Path(__file__).resolve()}" {name} "$@"\n')
        file.chmod(0o755)
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    local = {"SLURM_TMPDIR": str(folder / "disk"), "INTERFACE": "lo"}
    return {"PATH": path, "STAND_IN_JOBS": str(folder / "jobs"), **local}


def sbatch(*words: str) -> None:
    """A job, or one for each task of an array, each in a session of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--array")
    parser.add_argument("script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    asked = parser.parse_args(words)
    text = Path(asked.script).read_text()
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?", text, re.MULTILINE))
    first = 1 + max((int(path.stem) for path in _jobs().glob("*.json")), default=100)
    low, _, high = (asked.array or "0-0").partition("-")
    for offset, task in enumerate(range(int(low), int(high or low) + 1)):
        number = first + offset
        environment = {"SLURM_JOB_ID": str(number), "SLURM_NNODES": str(NODES), "SLURM_CPUS_PER_TASK": "2"}
        environment["SLURM_MEM_PER_CPU"] = "3000"
        if asked.array:
            environment |= {"SLURM_ARRAY_JOB_ID": str(first), "SLURM_ARRAY_TASK_ID": str(task)}
        job = {"command": ["bash", asked.script, *asked.arguments], "environment": environment, "directives": directives}
        (_jobs() / f"{number}.json").write_text(json.dumps(job))
        supervisor = [sys.executable, __file__, "supervise", str(number)]
        subprocess.Popen(supervisor, start_new_session=True, stdin=_NONE, stdout=_NONE, stderr=_NONE)
    print(f"Submitted batch job {first}")


def supervise(number: str) -> None:
    """Run a job, again when it was requeued; the exit codes are written, one a line, when it has ended."""
    job = json.loads((_jobs() / f"{number}.json").read_text())
    codes: list[int] = []
    while not codes or (_jobs() / f"{number}.requeued").exists():
        (_jobs() / f"{number}.requeued").unlink(missing_ok=True)
        environment = {**os.environ, **job["environment"], "SLURM_RESTART_COUNT": str(len(codes))}
        with (_jobs() / f"{number}.log").open("a") as log:
            shell = subprocess.Popen(job["command"], env=environment, start_new_session=True, stdout=log, stderr=log)
        (_jobs() / f"{number}.{len(codes)}.session").write_text(str(shell.pid))
        codes.append(shell.wait())
    finished = _jobs() / f"{number}.tmp"
    finished.write_text("\n".join(map(str, codes)))
    finished.rename(_jobs() / f"{number}.codes")


def srun(*words: str) -> None:
    """The command on each node at once; signals are passed on to all."""
    begin = next(index for index, word in enumerate(words) if not word.startswith("-"))
    options = dict(word.removeprefix("--").split("=") for word in words[:begin])
    assert options["ntasks"] == options["nodes"] == os.environ["SLURM_NNODES"]
    nodes = [{**os.environ, "SLURM_NODEID": str(node)} for node in range(int(options["nodes"]))]
    tasks = [subprocess.Popen(words[begin:], env=environment) for environment in nodes]

    def pass_on(received: int, frame: object) -> None:
        for task in tasks:
            task.send_signal(received)

    signal.signal(signal.SIGTERM, pass_on)
    sys.exit(max(task.wait() for task in tasks))


def scontrol(action: str, name: str) -> None:
    """`requeue`: the job is killed, with whoever calls this, and begins anew."""
    number, job = _job(name)
    assert action == "requeue" and "requeue" in job["directives"]
    (_jobs() / f"{number}.requeued").touch()
    os.killpg(_shell(number), signal.SIGKILL)


def scancel(*words: str) -> None:
    """`--batch --signal=USR1 JOB`: what SLURM sends ahead of the time limit to the shell alone."""
    assert words[:2] == ("--batch", "--signal=USR1")
    number, job = _job(words[2])
    assert re.fullmatch(r"B:USR1@\d+", job["directives"]["signal"])
    os.kill(_shell(number), signal.SIGUSR1)


def _jobs() -> Path:
    return Path(os.environ["STAND_IN_JOBS"])


def _job(name: str) -> tuple[str, dict]:
    """A job by its number, or a task of an array as JOB_TASK."""
    for path in sorted(_jobs().glob("*.json")):
        job = json.loads(path.read_text())
        its = job["environment"]
        if (
            name == f"{its['SLURM_ARRAY_JOB_ID']}_{its['SLURM_ARRAY_TASK_ID']}"
            if "SLURM_ARRAY_JOB_ID" in its
            else name == path.stem
        ):
            return path.stem, job
    raise SystemExit(f"there is no job {name}")


def _shell(number: str) -> int:
    """The process of the batch script, which leads a session and a group."""
    latest = max(_jobs().glob(f"{number}.*.session"), key=lambda path: int(path.name.split(".")[1]))
    return int(latest.read_text())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        {name: globals()[name] for name in (*COMMANDS, "supervise")}[sys.argv[1]](*sys.argv[2:])
