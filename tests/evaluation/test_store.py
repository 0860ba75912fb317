"""Finished runs: told apart by all that they depend on, kept, and not made twice."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click.testing
import numpy as np
import pytest
import yaml

import l2o_cli
import problems
from l2o_cli.commands.compare import compare
from l2o_cli.errors import Failure
from l2o_cli.evaluation.runs import store as store_module
from l2o_cli.evaluation.runs.lbfgs import contender, trials_of
from l2o_cli.evaluation.runs.store import RunStore, base_key, digest, identity, user_store
from l2o_cli.evaluation.runs.trials import Trials
from l2o_cli.export.resolve import resolve
from l2o_cli.spec import make_problem
from problems.keras_model import KerasProblem
from problems.quadratics import Quadratic
from problems.transforms import GradientNoise

ROOT = Path(__file__).resolve().parents[2]
SWEEP = [{"learning_rate": 0.01}, {"learning_rate": 0.1}, {"learning_rate": 1e38}]


def trials(folder, problem="quadratic", optimizer="adam", **options):
    made, store = make_problem(problem), RunStore(folder)
    one = trials_of(problem, made, contender(optimizer), steps=12, every=5, xla=False, store=store, **options)
    return one, store


def same(one, other):
    measured = ("losses", "seconds", "validation", "test")
    for name in measured:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    return all(getattr(one, name) == value for name, value in vars(other).items() if name not in measured)


@pytest.mark.parametrize(
    "problem, optimizer, settings", [("random_mlp", "adam", SWEEP), ("rosenbrock", "lbfgs", [{}])], ids=["adam", "lbfgs"]
)
def test_a_kept_run_is_the_run(tmp_path, problem, optimizer, settings):
    first, store = trials(tmp_path, problem, optimizer)
    made = first.run(settings, [0, 1])
    count = len(settings) * 2
    assert (store.made, store.found) == (count, 0)
    second, store = trials(tmp_path, problem, optimizer, label="another name")
    shares = []
    kept = second.run(settings, [0, 1], first_trial=4, advance=shares.append)
    assert (store.made, store.found) == (0, count) and sum(shares) == pytest.approx(1)
    assert [run.optimizer for run in kept] == ["another name"] * count
    assert [run.trial for run in kept] == [run.trial + 4 for run in made]
    for one, other in zip(made, kept, strict=True):
        assert same(one, dataclasses.replace(other, optimizer=one.optimizer, trial=one.trial))
    if optimizer == "adam":
        assert kept[-1].diverged_at is not None and kept[0].diverged_at is None and kept[0].test > 0


def test_what_is_missing_is_made_as_it_was(tmp_path):
    one, store = trials(tmp_path)
    made = one.run(SWEEP, [0, 1])
    files = sorted(tmp_path.rglob("*.npz"))
    assert one.missing(SWEEP, [0, 1]) == 0 and len(files) == 6
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:100])  # damaged
    assert one.missing(SWEEP, [0, 1]) == 1  # what is damaged shows when it is read
    again, store = trials(tmp_path)
    for before, after in zip(made, again.run(SWEEP, [0, 1]), strict=True):
        np.testing.assert_array_equal(before.losses, after.losses)
    assert (store.made, store.found) == (2, 4)


def test_without_a_store_all_runs_are_made(tmp_path):
    one = Trials("quadratic", make_problem("quadratic"), resolve("adam"), steps=3, xla=False)
    assert one.missing([{}], [0, 1]) == 2 and len(one.run([{}], [0, 1])) == 2


def test_a_key_holds_all_that_a_run_depends_on(tmp_path, monkeypatch):
    def key(problem="quadratic", optimizer="adam", setting=None, seed=0, size=2, curve=True, **options):
        one = Trials("name", make_problem(problem), resolve(optimizer), store=RunStore(tmp_path), **{"steps": 8, **options})
        return one._key_of(store_job(setting or {}, seed), size, curve)

    def store_job(setting, seed):
        from l2o_cli.evaluation.runs.batches import Job

        return Job(3, setting, seed)

    keys = [
        key(),
        key("booth"),
        key(optimizer="sgd"),
        key(optimizer="adam(learning_rate=0.5)"),
        key(optimizer="adam+clipping(norm=1.0)"),
        key(setting={"learning_rate": 0.5}),
        key(seed=1),
        key(size=3),
        key(curve=False),
        key(steps=9),
        key(every=2),
        key(xla=False),
    ]
    monkeypatch.setattr(store_module, "code_fingerprint", lambda: "other code")
    keys.append(key())
    monkeypatch.setattr(store_module, "environment", lambda: {"tensorflow": "9.9"})
    keys.append(key())
    monkeypatch.setattr(store_module.runtime, "processor", lambda: "another")
    keys.append(key())
    assert len(set(keys)) == len(keys) and None not in keys
    assert key() == keys[-1]


def test_a_learned_optimizer_is_known_by_its_weights(tmp_path):
    one = resolve("hrnn")
    changed = dataclasses.replace(one, weights={name: value + 1e-7 for name, value in one.weights.items()})
    keys = [base_key(Quadratic(3), other, 5) for other in (one, changed, resolve("hrnn"))]
    assert digest(keys[0]) == digest(keys[2]) != digest(keys[1])


def test_problems_are_told_apart_by_every_option():
    different = [Quadratic(3), Quadratic(4), GradientNoise(Quadratic(3)), GradientNoise(Quadratic(3), deviation=0.5)]
    assert len({digest({"problem": identity(problem)}) for problem in different}) == len(different)


def test_a_problem_of_ones_own_is_known_by_its_code(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom problems.quadratics import Quadratic\n\n"
        "@dataclass(frozen=True)\nclass Mine(Quadratic):\n    name = 'mine'\n"
    )
    problem = make_problem(f"{file}:Mine")
    before = identity(problem)
    (tmp_path / "beside.py").write_text("WIDTH = 3\n")
    assert identity(problem)["own code"] != before["own code"] is not None
    assert identity(Quadratic(3))["own code"] is None


def test_what_has_no_plain_values_is_not_kept(tmp_path):
    keras = pytest.importorskip("keras")
    inputs = np.zeros([8, 2], np.float32), np.zeros([8, 1], np.float32)

    def line():
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    problem = KerasProblem(line, "mse", inputs, batch_size=4)
    store = RunStore(tmp_path)
    Trials("line", problem, resolve("sgd"), steps=2, xla=False, store=store).run([{}], [0])
    assert store.made == 1 and not list(tmp_path.rglob("*.npz"))


def test_the_fingerprint_is_of_the_code_and_the_data():
    package, others = Path(l2o_cli.__file__).parent, Path(problems.__file__).parent
    files = [file for part in store_module._COMPUTING for file in store_module._files(package / part)]
    assert {"rollout.py", "trials.py", "adam.py", "lbfgs.py"} <= {file.name for file in files} and all(map(Path.is_file, files))
    assert {"quadratics.py", "digits.npz"} <= {file.name for file in store_module._files(others)}


def test_where_the_store_is(tmp_path, monkeypatch):
    assert user_store() is None  # L2O_RUNS=off in this suite
    monkeypatch.setenv("L2O_RUNS", str(tmp_path / "kept"))
    assert user_store().folder == tmp_path / "kept"
    monkeypatch.delenv("L2O_RUNS")
    monkeypatch.setenv("L2O_CACHE", str(tmp_path / "cache"))
    assert user_store().folder == tmp_path / "cache" / "runs"
    monkeypatch.setenv("L2O_CACHE", "off")
    assert user_store() is None
    monkeypatch.setenv("L2O_RUNS", "/proc/nowhere")
    assert user_store() is None


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(path, content):
        raise Failure(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr(store_module, "write_atomically", full)
    one, _ = trials(tmp_path)
    with pytest.raises(Failure, match="No space left"):
        one.run([{}], [0])


ARGUMENTS = ("--problems", "quadratic,booth", "--optimizer", "hrnn", "--baselines", "adam,sgd:global:3", "--trials", "3")
SIZES = ("--steps", "40", "--seeds", "2", "--tuning-seeds", "1", "--no-xla")


def inside(*arguments, runs):
    """`l2o compare` in this process; what it prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("L2O_RUNS", str(runs))
        result = click.testing.CliRunner().invoke(compare, [*map(str, arguments), "--quiet"])
    if result.exception:
        raise result.exception
    return result.stdout


def table(path):
    """Without what is measured by the clock."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: cell for name, cell in row.items() if name not in ("seconds", "step_milliseconds")} for row in rows]


TABLES = ("curves.csv", "scores.csv", "tuning.csv")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A comparison, and the store it filled."""
    folder = tmp_path_factory.mktemp("undisturbed")
    inside(*ARGUMENTS, *SIZES, "--out", folder / "out", runs=folder / "runs")
    return folder


def test_a_killed_comparison_ends_with_the_same_scores(undisturbed, tmp_path):
    out, runs = tmp_path / "out", tmp_path / "runs"
    environment = {**os.environ, "L2O_RUNS": str(runs), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "l2o_cli", "compare", *ARGUMENTS, *SIZES, "--out", out],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(list(runs.rglob("*.npz"))) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    kept, whole = len(list(runs.rglob("*.npz"))), len(list((undisturbed / "runs").rglob("*.npz")))
    assert process.wait() == -signal.SIGKILL and 5 <= kept < whole
    inside("--resume", "--out", out, runs=runs)
    for name in TABLES:
        assert table(out / name) == table(undisturbed / "out" / name)
    # Once more: nothing is left to run, so the clock has no say either.
    before = {name: (out / name).read_bytes() for name in (*TABLES, "compare.yaml", "spec.yaml", "report.html")}
    assert "runs were made before" in inside("--resume", "--out", out, runs=runs)
    assert {name: (out / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_worker_processes_make_the_same_runs(undisturbed, l2o_in, tmp_path):
    more = ("--workers", 2, "--out", tmp_path / "out")
    result = l2o_in(tmp_path, "compare", *ARGUMENTS, *SIZES, *more, L2O_RUNS=str(tmp_path / "runs"))
    assert result.returncode == 0, result.stderr
    for name in TABLES:
        assert table(tmp_path / "out" / name) == table(undisturbed / "out" / name)


def test_time_that_is_up_leaves_what_is_complete(tmp_path):
    output = inside(*ARGUMENTS, *SIZES, "--minutes", 1e-6, "--out", tmp_path / "out", runs=tmp_path / "runs")
    assert "stopped with 0 of 2 problems complete; go on with --resume" in output
    spec = yaml.safe_load((tmp_path / "out" / "spec.yaml").read_text())
    assert [problem["name"] for problem in spec["problems"]] == ["quadratic", "booth"] and spec["steps"] == 40
