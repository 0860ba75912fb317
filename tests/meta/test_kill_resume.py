"""A run that is killed again and again ends with the same bits; the test is a command of its own for longer ones."""

import subprocess
import sys
from pathlib import Path


def test_a_run_killed_twenty_times_ends_as_if_nobody_had_disturbed_it(tmp_path):
    command = [sys.executable, "-m", "tests.kill_resume", "--kills", "20", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "20 kills" in done.stdout
