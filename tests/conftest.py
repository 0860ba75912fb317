"""What all tests share: TensorFlow set up as the command line does, and the command, in this process or one of its own."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from l2o_cli import cli, runtime

# One compilation cache for all test processes and runs of the suite, apart from the user's; L2O_CACHE chooses another.
os.environ.setdefault("L2O_CACHE", str(Path(tempfile.gettempdir()) / f"l2o-tests-{os.getuid()}"))
# Runs are made and not taken from a store, which would hide it if they were not the same again.
os.environ["L2O_RUNS"] = "off"
runtime.set_environment()
runtime.quieten_python()

collect_ignore = ["frameworks"]  # in an environment of its own: `make test-frameworks`

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """TensorFlow's half a million objects stay: a garbage collection that passes over them takes 0.3 s less."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def l2o_in() -> Cli:
    """`l2o_in(folder, "evaluate", ...)` runs the command in `folder`; keywords are environment variables.

    In a process of its own, which takes some seconds to start: for tests of what a user gets.
    """

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


@pytest.fixture(scope="session")
def l2o_here() -> Cli:
    """`l2o_here(folder, "evaluate", ...)` runs the command in `folder`, in this process."""

    def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run([str(argument) for argument in arguments])
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def l2o(tmp_path: Path, l2o_here: Cli) -> Cli:
    """`l2o("evaluate", ...)` runs the command in the test's own folder, in this process."""
    return functools.partial(l2o_here, tmp_path)
