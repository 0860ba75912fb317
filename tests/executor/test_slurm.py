"""The scripts for SLURM, run with stand-ins for its commands that start local processes (`slurm.py`)."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.executor import slurm
from tests.kill_resume import SPEC, without
from tests.sessions import processes_of

SCRIPTS = Path(__file__).parents[2] / "docs" / "examples" / "slurm"
SECONDS = 500  # that a job may take on a busy machine
pytestmark = pytest.mark.slow


class Slurm:
    """The stand-ins, in a folder of their own."""

    def __init__(self, folder: Path, **environment: str):
        (folder / "slurm").mkdir()
        self.folder, root = folder, str(Path(__file__).parents[2])
        self._jobs, self.disk = folder / "slurm" / "jobs", folder / "slurm" / "disk"
        own = slurm.commands(folder / "slurm")
        self.environment = {**os.environ, **own, "PYTHONPATH": root, **environment}

    def __call__(self, *command: object) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *words: object) -> int:
        return int(self("sbatch", *words).split()[-1])

    def await_lines(self, file: Path, lines: int) -> None:
        """Until a file has so many."""
        self._wait(lambda: file.exists() and file.read_bytes().count(b"\n") >= lines)

    def ended(self, job: int) -> list[int]:
        """The exit codes of a job that has ended, one for each time that it was begun; it has left no process and no key."""
        codes = self._jobs / f"{job}.codes"
        self._wait(codes.exists)
        sessions = [int(path.read_text()) for path in self._jobs.glob(f"{job}.*.session")]
        assert sessions
        self._wait(lambda: not any(processes_of(session) for session in sessions), seconds=10)
        assert not list(self.folder.glob(".l2o-[0-9]*"))
        return [int(code) for code in codes.read_text().split()]

    def log(self, job: int) -> str:
        file = self._jobs / f"{job}.log"
        return file.read_text() if file.exists() else ""

    def _wait(self, condition, seconds=SECONDS):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "\n".join(file.read_text() for file in self._jobs.glob("*.log"))
            time.sleep(0.02)


@pytest.fixture(scope="module", name="alone")
def _alone(tmp_path_factory, l2o_here):
    """A spec, and the weights that one process makes of it."""
    folder = tmp_path_factory.mktemp("alone")
    spec = {"optimizer": {"name": "learned_adam"}, "meta_steps": 80, "families_per_step": 2}
    problems = [{"name": "quadratic", "options": {"dimension": dimension}} for dimension in (2, 3)]
    (folder / "spec.yaml").write_text(yaml.safe_dump({**SPEC, **spec, "problems": problems}))
    done = l2o_here(folder, "meta-train", "spec.yaml", "--out", "run", "--no-xla")
    assert done.returncode == 0, done.stderr
    return folder / "spec.yaml", weights(folder / "run")


def weights(run: Path) -> bytes:
    return (run / "artifact" / "weights.safetensors").read_bytes()


def test_a_meta_training_that_is_requeued_has_the_bits_of_one_process(alone, tmp_path):
    spec, expected = alone
    cluster = Slurm(tmp_path)
    job = cluster.submit(SCRIPTS / "meta_train.sh", spec, "run", "--no-xla")
    cluster.await_lines(tmp_path / "run" / "metrics.csv", 6)
    cluster("scancel", "--batch", "--signal=USR1", job)
    codes = cluster.ended(job)
    log = cluster.log(job)
    assert codes == [-9, 0], log
    assert "; go on with --resume --out run" in log and "going on after meta-step " in log
    assert weights(tmp_path / "run") == expected


def test_a_job_whose_workers_cannot_begin_ends_with_an_error(alone, tmp_path):
    cluster = Slurm(tmp_path)
    broken = tmp_path / "slurm" / "bin" / "srun"
    broken.write_text("#!/bin/sh\nexit 1\n")
    job = cluster.submit(SCRIPTS / "meta_train.sh", alone[0], "run", "--no-xla")
    assert cluster.ended(job) == [143], cluster.log(job)


def test_an_array_of_comparisons_that_is_requeued_gives_one_table(tmp_path, l2o_here):
    asked = ("--optimizer", "lion", "--baselines", "adam,sgd", "--trials", "3", "--steps", "60", "--seeds", "2")
    asked = (*asked, "--tuning-seeds", "1", "--no-xla", "--no-report")
    (tmp_path / "problems.txt").write_text("booth\nbeale,quadratic\n")
    cluster = Slurm(tmp_path, L2O_RUNS=str(tmp_path / "store"))
    script = SCRIPTS / "compare_array.sh"
    first = cluster.submit("--array=1-2", script, "problems.txt", "out", *asked)
    cluster.await_lines(tmp_path / "out" / "task-2" / "spec.yaml", 1)
    cluster("scancel", "--batch", "--signal=USR1", f"{first}_2")
    assert cluster.ended(first) == [0], cluster.log(first)
    assert cluster.ended(first + 1) == [-9, 0], cluster.log(first + 1)
    together = cluster.submit(script, "problems.txt", "out", *asked)
    assert cluster.ended(together) == [0], cluster.log(together)
    assert re.search(r"^(\d+) of \1 runs were made before", cluster.log(together), re.MULTILINE)
    done = l2o_here(tmp_path, "compare", "--problems", "booth,beale,quadratic", *asked, "--out", "whole")
    assert done.returncode == 0, done.stderr
    for name in ("curves.csv", "scores.csv", "tuning.csv"):
        assert without(tmp_path / "out" / "all" / name) == without(tmp_path / "whole" / name)


STAND_IN = '''
from distributed import LocalCluster

class SLURMCluster(LocalCluster):
    """dask-jobqueue's, with the arguments that are used of it: its jobs are processes of this machine."""

    def __init__(
        self, *, cores, processes, memory, walltime, local_directory, interface, security, scheduler_options,
        worker_extra_args, job_script_prologue, log_directory,
    ):
        assert cores >= processes and worker_extra_args[0] == "--dashboard-address" and ":" in walltime
        address = scheduler_options["dashboard_address"]
        own = {"local_directory": local_directory, "dashboard_address": address, "worker_dashboard_address": address}
        super().__init__(n_workers=0, threads_per_worker=1, protocol="tls://", host="127.0.0.1", security=security, **own)

    def adapt(self, *, minimum_jobs, maximum_jobs):
        return super().adapt(minimum=minimum_jobs, maximum=maximum_jobs)
'''


def test_workers_of_jobs_of_their_own(alone, tmp_path):
    """Without dask-jobqueue, which is no part of the requirements: a cluster of local processes has its name."""
    spec, expected = alone
    cluster = Slurm(tmp_path)
    (tmp_path / "dask_jobqueue.py").write_text(STAND_IN)
    cluster.environment["PYTHONPATH"] += f":{tmp_path}"
    options = ("--jobs", 2, "--interface", "lo", "--disk", cluster.disk)
    cluster(sys.executable, SCRIPTS / "jobqueue.py", spec, "run", *options, "--", "--no-xla")
    assert weights(tmp_path / "run") == expected
    assert not list(tmp_path.glob(".l2o-*"))
