"""Commands that are killed again and again end with the same bits; the test is a command of its own for longer ones."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.kill_resume import SPEC

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("command", "kills"),
    [
        ("meta-train", 3),
        pytest.param("meta-train", 20, marks=pytest.mark.slow),
        pytest.param("workers", 6, marks=pytest.mark.slow),
        pytest.param("compare", 6, marks=pytest.mark.slow),
        pytest.param("ablate", 6, marks=pytest.mark.slow),
    ],
)
def test_a_killed_command_ends_as_if_nobody_had_disturbed_it(tmp_path, command, kills):
    arguments = [sys.executable, "-m", "tests.kill_resume", command, "--kills", str(kills), "--folder", str(tmp_path)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert f"{kills} kills" in done.stdout


@pytest.mark.slow
def test_the_batch_script_of_the_page_saves_requeues_and_goes_on(tmp_path):
    [script] = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", (ROOT / "docs" / "meta-training.md").read_text(), re.DOTALL)
    (tmp_path / "mine.sh").write_text(script)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(SPEC | {"meta_steps": 1000}))
    (tmp_path / "scontrol").write_text('#!/bin/bash\necho "$@" >> requeued\n')
    (tmp_path / "scontrol").chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SLURM_JOB_ID": "7", "PYTHONPATH": str(ROOT)}
    metrics, spec = tmp_path / "runs" / "mine" / "metrics.csv", tmp_path / "runs" / "mine" / "spec.yaml"
    for _ in range(2):
        before = len(metrics.read_text().splitlines()) if metrics.exists() else 1
        job = subprocess.Popen(["bash", "mine.sh"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (metrics.exists() and len(metrics.read_text().splitlines()) > before + 1):
            time.sleep(0.02)
        job.send_signal(signal.SIGUSR1)
        err = job.communicate(timeout=30)[1]
        assert "go on with --resume" in err, err
    assert (tmp_path / "requeued").read_text() == "requeue 7\n" * 2
    spec.write_text(yaml.safe_dump(yaml.safe_load(spec.read_text()) | {"meta_steps": len(metrics.read_text().splitlines())}))
    done = subprocess.run(["bash", "mine.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and (metrics.parent / "artifact").is_dir(), done.stderr


# In a folder whose files have the names of modules that l2o and Python need.
TRAPS = ("types", "numpy", "problems", "random", "tools")


@pytest.mark.slow
def test_processes_import_nothing_of_the_current_folder_but_what_a_problem_of_it_does(tmp_path):
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the {name} of the user')")
    (tmp_path / "mine.py").write_text(
        "from l2o_problems.quadratics import Quadratic\nfrom sizes import SIZE\nprint('loud')\n"
        "def made():\n    return Quadratic(SIZE)\n"
    )
    (tmp_path / "sizes.py").write_text("SIZE = 2")
    l2o = str(Path(sys.executable).with_name("l2o"))
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "L2O_RUNS": str(tmp_path / "store")}
    small = ("--problem", "mine.py:made,booth", "--optimizer", "sgd", "--steps", "4", "--no-xla", "--no-report", "--quiet")
    done = subprocess.run([l2o, "evaluate", *small, "--workers", "2"], env=environment, **options)
    assert done.returncode == 0 and "the user" not in done.stdout + done.stderr, done.stderr
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "base.yaml").write_text(yaml.safe_dump(SPEC | {"meta_steps": 2}))
    done = subprocess.run([l2o, "ablate", "specs", "--no-xla"], env=environment, **options)
    assert done.returncode == 0 and "the user" not in done.stdout + done.stderr, done.stderr
