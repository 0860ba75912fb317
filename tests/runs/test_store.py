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
from l2o_problems.quadratics import Quadratic

from l2o_cli.commands.compare import compare
from l2o_cli.errors import Failure, warn_once
from l2o_cli.export.resolve import resolve
from l2o_cli.runs import batches as batches_module
from l2o_cli.runs import store as store_module
from l2o_cli.runs.contenders import batches_of, contender
from l2o_cli.runs.own_code import NoIdentity
from l2o_cli.runs.store import RunStore, user_store
from l2o_cli.runs.update_rules import RuleBatches
from l2o_cli.spec.names import make_problem

ROOT = Path(__file__).resolve().parents[2]
SWEEP = [{"learning_rate": 0.01}, {"learning_rate": 0.1}, {"learning_rate": 1e38}]


def trials(folder, problem="quadratic", optimizer="adam", **options):
    made, store = make_problem(problem), RunStore(folder)
    one = batches_of(problem, made, contender(optimizer), steps=12, every=5, xla=False, store=store, **options)
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
    files = sorted(tmp_path.rglob("*.run"))
    assert one.missing(SWEEP, [0, 1]) == 0 and len(files) == 6
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:100])  # damaged
    assert one.missing(SWEEP, [0, 1]) == 1  # what is damaged shows when it is read
    again, store = trials(tmp_path)
    for before, after in zip(made, again.run(SWEEP, [0, 1]), strict=True):
        np.testing.assert_array_equal(before.losses, after.losses)
    assert (store.made, store.found) == (2, 4)


def test_without_a_store_all_runs_are_made(tmp_path):
    one = RuleBatches("quadratic", make_problem("quadratic"), resolve("adam"), steps=3, xla=False)
    assert one.missing([{}], [0, 1]) == 2 and len(one.run([{}], [0, 1])) == 2


def test_where_the_store_is(tmp_path, monkeypatch, capsys):
    assert user_store() is None  # L2O_RUNS=off in this suite
    monkeypatch.setenv("L2O_RUNS", str(tmp_path / "kept"))
    assert user_store().folder == tmp_path / "kept" and user_store(fresh=True) is None
    monkeypatch.delenv("L2O_RUNS")
    monkeypatch.setenv("L2O_CACHE", str(tmp_path / "cache"))
    assert user_store().folder == tmp_path / "cache" / "runs"
    monkeypatch.setenv("L2O_CACHE", "off")
    assert user_store() is None
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("L2O_RUNS", "/proc/nowhere")
    warn_once.cache_clear()
    assert user_store() is None and user_store() is None
    assert capsys.readouterr().err.count("a cache is not used: /proc/nowhere: ") == 1


def arrays():
    return {"losses": np.arange(40, dtype=np.float32), "seconds": np.linspace(0, 1, 9), "diverged_at": np.array(3)}


def test_no_flipped_bit_in_an_entry_is_believed_or_fatal(tmp_path):
    store, key = RunStore(tmp_path), "ab" * 32
    store.save(key, arrays())
    (path,) = tmp_path.rglob("*.run")
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for bit in generator.choice(8 * len(content), 300, replace=False):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert store.load(key) is None, bit
        assert not path.exists()  # and is made again
    for damaged in (b"", content[:-1], content[:40], content + b"x", os.urandom(500)):
        path.write_bytes(damaged)
        assert store.load(key) is None and not store.has(key)
    path.write_bytes(content)
    assert store.has(key) and store.load(key)["losses"].tolist() == list(range(40))


def test_an_entry_under_the_name_of_another_is_not_taken_for_it(tmp_path):
    store, key, other = RunStore(tmp_path), "ab" * 32, "ab" + "cd" * 31
    store.save(key, arrays())
    (tmp_path / "ab" / f"{key}.run").rename(tmp_path / "ab" / f"{other}.run")
    assert store.load(other) is None


def full(path, content):
    raise Failure(f"{path}: cannot be written: No space left on device")


def test_what_cannot_be_kept_is_said_once_and_is_no_error(tmp_path, monkeypatch, capsys):
    one, store = trials(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_atomically", full)
        made = one.run(SWEEP, [0, 1])
    said = capsys.readouterr().err
    assert len(made) == 6 and store.made == 6 and said.count("No space left") == said.count("\n") == 1
    for name in range(256):  # a file where a folder should be
        (tmp_path / f"{name:02x}").touch()
    one, store = trials(tmp_path)
    (run,) = one.run([{}], [0])
    assert run.losses.shape == (12,) and "exists" in capsys.readouterr().err
    assert one.missing([{}], [0]) == 1


def test_runs_that_are_not_kept_are_handed_over(tmp_path, monkeypatch):
    """From a worker process to the one that started it: with the store off, and on a problem that no key can be of."""
    monkeypatch.setenv("L2O_CACHE", "off")
    store = user_store(handed=tmp_path / "handed")
    assert store.folder is None and user_store() is None
    one = batches_of("mine", Quadratic(2), contender("adam"), steps=3, xla=False, store=store)
    (made,) = one.run([{}], [0])
    (again,) = batches_of("mine", Quadratic(2), contender("adam"), steps=3, xla=False, store=store).run([{}], [0])
    assert (store.made, store.found) == (1, 1) and same(made, again)

    monkeypatch.setattr(batches_module, "identity", unknown)
    store = RunStore(tmp_path / "kept", tmp_path)
    for _ in range(2):
        batches_of("mine", Quadratic(2), contender("adam"), steps=3, xla=False, store=store).run([{}], [0])
    assert (store.made, store.found) == (1, 1) and not (tmp_path / "kept").exists()


def unknown(problem):
    raise NoIdentity


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


@pytest.mark.slow
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
    while len(list(runs.rglob("*.run"))) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    kept, whole = len(list(runs.rglob("*.run"))), len(list((undisturbed / "runs").rglob("*.run")))
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
