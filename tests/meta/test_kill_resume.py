"""A run that is killed again and again ends with the same bits; the test is a command of its own for longer ones."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_run_ends_as_if_nobody_had_disturbed_it(tmp_path, kills):
    command = [sys.executable, "-m", "tests.kill_resume", "--kills", str(kills), "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert f"{kills} kills" in done.stdout
