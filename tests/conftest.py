"""What all tests share: TensorFlow set up as the command line does, and the command itself in a process of its own."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from l2o_cli import runtime

# One compilation cache for all test processes and runs of the suite, apart from the user's; L2O_CACHE chooses another.
os.environ.setdefault("L2O_CACHE", str(Path(tempfile.gettempdir()) / f"l2o-tests-{os.getuid()}"))
runtime.set_environment()
runtime.quieten_python()

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def l2o_in() -> Cli:
    """`l2o_in(folder, "evaluate", ...)` runs the command in `folder`; keywords are environment variables."""

    def run(folder: Path, *arguments: object, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        root = str(Path(__file__).resolve().parent.parent)
        return subprocess.run(
            [sys.executable, "-m", "l2o_cli", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": root, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def l2o(tmp_path: Path, l2o_in: Cli) -> Cli:
    """`l2o("evaluate", ...)` runs the command in the test's own folder."""
    return functools.partial(l2o_in, tmp_path)
