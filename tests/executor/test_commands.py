"""Commands whose work is done by processes of Dask give what they give in one process, and leave nothing behind."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.sessions import processes_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TIMES = ("seconds", "step_milliseconds", "minutes")
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'problems'}"}
COMPARISON = {
    "problems": ["quadratic", "booth"],
    "optimizers": ["lion"],
    "baselines": ["adam", "sgd:global:3"],
    "trials": 3,
    "tuning_seeds": 1,
    "seeds": 2,
    "steps": 40,
    "xla": False,
    "sweeps": [
        {"over": "option", "option": "dimension", "problem": "quadratic", "values": [2, 3]},
        {"over": "learning_rate", "problem": "booth", "values": [0.01, 0.1]},
    ],
}
ABLATION = {
    "meta_steps": 4,
    "optimizer": {"name": "learned_rate", "options": {"initial_rate": 0.01}},
    "problems": [{"name": "quadratic", "options": {"dimension": 3}}],
    "instances": 2,
    "truncation": {"distribution": "constant", "maximum": 3},
    "horizon": {"distribution": "constant", "maximum": 9},
    "objective": {"epsilon": 1e-3},
    "validation": {"problems": [{"name": "bowl"}], "every": 2, "steps": 10, "instances": 2},
    "checkpoint_every": 1,
}


class Command:
    """`l2o` in a session of its own, with its own folder for temporary files."""

    def __init__(self, folder: Path, *arguments: object, **environment: str):
        self.temporary = folder / "temporary"
        self.temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "l2o_cli", *map(str, arguments)],
            cwd=folder,
            env={**ENVIRONMENT, "TMPDIR": str(self.temporary), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_until(self, condition) -> None:
        deadline = time.monotonic() + 200
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.process.communicate(timeout=10)
            time.sleep(0.05)

    def workers(self) -> list[int]:
        return [number for number, line in processes_of(self.process.pid).items() if "spawn_main" in line]

    def end(self, code: int, seconds: float = 400.0) -> tuple[str, str]:
        """What it has said; it ends with this code in so many seconds, and leaves nothing."""
        out, err = self.process.communicate(timeout=seconds)
        assert self.process.returncode == code and "Traceback" not in err, err
        deadline = time.monotonic() + 3
        while (left := processes_of(self.process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left
        assert not list(self.temporary.glob("l2o-*"))
        return out, err


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name not in TIMES} for row in csv.DictReader(file)]


def runs(folder: Path) -> int:
    return len(list(folder.rglob("*.run")))


def test_a_comparison_with_sweeps_on_workers_one_of_which_is_killed(tmp_path):
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(COMPARISON))
    asked, store = ("compare", "spec.yaml", "--no-report"), tmp_path / "store"
    Command(tmp_path, *asked, "--quiet", "--out", "one", L2O_RUNS="off").end(0)
    command = Command(tmp_path, *asked, "--workers", 2, "--out", "two", L2O_RUNS=str(store))
    command.wait_until(lambda: runs(store) >= 2)
    os.kill(command.workers()[0], signal.SIGKILL)
    _, err = command.end(0)
    assert err.startswith("2 workers; dashboard: http://127.0.0.1:") and "ensorflow" not in err, err
    for name in ("curves.csv", "scores.csv", "tuning.csv", "sweeps.csv"):
        assert rows(tmp_path / "two" / name) == rows(tmp_path / "one" / name), name


def test_an_evaluation_on_workers_that_share_no_files(tmp_path):
    from distributed import LocalCluster

    asked = (
        "evaluate",
        "--problem",
        "quadratic,booth,digits_mlp",
        "--optimizer",
        "lion",
        "--steps",
        30,
        "--seeds",
        2,
        "--no-report",
    )
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "env": {"L2O_RUNS": str(tmp_path / "there")}}
    Command(tmp_path, *asked, "--out", "one").end(0)
    with LocalCluster(2, local_directory=str(tmp_path), **options) as cluster:
        here, given = tmp_path / "here", ("--scheduler", cluster.scheduler_address)
        _, err = Command(tmp_path, *asked, *given, "--out", "two", L2O_RUNS=str(here)).end(0)
        assert runs(here) == runs(tmp_path / "there") == 6, err
        assert rows(tmp_path / "two" / "curves.csv") == rows(tmp_path / "one" / "curves.csv")
        _, err = Command(tmp_path, *asked, *given, "--fresh", "--quiet", "--out", "three", L2O_RUNS=str(here)).end(0)
        assert err == "" and rows(tmp_path / "three" / "curves.csv") == rows(tmp_path / "one" / "curves.csv")


@pytest.mark.parametrize("how", ["Ctrl-C", "--minutes"])
def test_a_comparison_that_is_stopped_leaves_no_process(tmp_path, how):
    more = ("--minutes", 0.5) if how == "--minutes" else ()
    asked = ("--problems", "digits_mlp,mnist_mlp", "--optimizer", "hrnn", "--steps", 100_000, "--no-report", "--out", "out")
    command = Command(tmp_path, "compare", *asked, "--workers", 2, *more, L2O_RUNS=str(tmp_path / "store"))
    if not more:
        time.sleep(40)  # by then they compile or run
        assert len(command.workers()) == 2
        os.killpg(command.process.pid, signal.SIGINT)
    out, _ = command.end(0 if more else 130, 60 if more else 10)
    assert "stopped with 0 of 2 problems complete; go on with --resume --out out" in out


def test_a_calibration_on_workers(tmp_path):
    asked = ("calibrate", *(part for name in ("valley", "booth", "valley()") for part in ("--problem", name)), "--steps", 40)
    Command(tmp_path, *asked, "--out", "one.csv").end(0)
    out, _ = Command(tmp_path, *asked, "--out", "two.csv", "--workers", 2).end(0)
    assert out == "wrote two.csv: 3 problems\n" and rows(tmp_path / "two.csv") == rows(tmp_path / "one.csv")


@pytest.fixture(name="specs")
def _specs(tmp_path):
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "base.yaml").write_text(yaml.safe_dump(ABLATION))
    (folder / "log.yaml").write_text("extends: base.yaml\nobjective: {scale: log}\n")
    return folder


def test_an_ablation_on_workers(specs, tmp_path):
    asked = ("ablate", "specs", "--no-xla")
    Command(tmp_path, *asked, "--out", "one").end(0)
    _, err = Command(tmp_path, *asked, "--out", "two", "--workers", 2).end(0)
    assert "2 of 2: log, seed 0, 5 of 5 minutes" in err and "meta-training" not in err
    assert rows(tmp_path / "two" / "ablations.csv") == rows(tmp_path / "one" / "ablations.csv")
    weights = [tmp_path / name / "log-seed-0" / "artifact" / "weights.safetensors" for name in ("one", "two")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_ctrl_c_saves_the_runs_on_workers_and_the_command_goes_on(specs, tmp_path):
    asked = ("ablate", "specs", "--no-xla", "--out", "out", "--workers", 2)
    tables = [tmp_path / "out" / f"{name}-seed-0" / "metrics.csv" for name in ("base", "log")]
    command = Command(tmp_path, *asked, "--set", "meta_steps=100000")
    command.wait_until(lambda: all(table.exists() and len(rows(table)) > 3 for table in tables))
    os.killpg(command.process.pid, signal.SIGINT)
    _, err = command.end(130, 25)  # 9 on a machine that has as much again to do
    assert err.splitlines()[-1] == "stopped and saved; the same command goes on"
    made = [len(rows(table)) for table in tables]
    assert all((table.parent / "checkpoints" / f"ckpt-{count}").exists() for table, count in zip(tables, made, strict=True))
    Command(tmp_path, *asked, "--set", f"meta_steps={max(made) + 2}").end(0)
    assert [int(row["meta_step"]) for row in rows(tables[0])] == list(range(1, max(made) + 3))
