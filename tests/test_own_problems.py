"""The page about problems of one's own: its examples are the files beside it, and its commands work."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from l2o_problems.from_file import problem_in_file
from l2o_problems.random import as_seed

from l2o_cli.spec.reading import read_meta_training

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = (DOCS / "own_problems.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SMALL = {
    "evaluate": ["--steps", "4", "--seeds", "1", "--out", "results", "--no-xla", "--no-report"],
    "compare": ["--steps", "4", "--seeds", "1", "--trials", "2", "--out", "results", "--no-xla", "--no-report"],
    "meta-train": [
        *("--set", "meta_steps=2", "--set", "optimizer={name: learned_rate}", "--set", "instances=2"),
        *("--no-xla", "--set", "truncation={distribution: constant, maximum: 3}", "--set", "validation.steps=4"),
    ],
}


def test_the_examples_are_the_files_beside_the_page():
    blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL)
    assert blocks == [(DOCS / "examples" / name).read_text() for name in ("my_problem.py", "my_keras_model.py", "my_spec.yaml")]


def test_the_loss_of_the_example_is_what_it_says():
    problem = problem_in_file(f"{DOCS}/examples/my_problem.py:MatrixFactorization")(size=6, rank=2)
    task = problem.sample(as_seed(1), 2)
    params = problem.initial_params(as_seed(2), task)
    whole = problem.loss(params, task, problem.batch(as_seed(3), task, "test"))
    expected = [
        np.mean((u @ v.T - a) ** 2) for u, v, a in zip(params["u"].numpy(), params["v"].numpy(), task["matrix"], strict=True)
    ]
    np.testing.assert_allclose(whole, expected, rtol=1e-5)
    losses = [problem.loss(params, task, problem.batch(as_seed(seed), task, "train")) for seed in range(300)]
    np.testing.assert_allclose(np.mean(losses, axis=0), whole, rtol=0.1)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory, l2o_here):
    """A user's folder with the examples, where an optimizer was meta-trained on them."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(DOCS / "examples", folder, dirs_exist_ok=True)
    run(l2o_here, folder, next(command for command in COMMANDS if "meta-train" in command))
    return folder


def run(l2o, folder, command):
    program, name, *arguments = shlex.split(command)
    assert program == "l2o"
    done = l2o(folder, name, *arguments, *SMALL[name])
    assert done.returncode == 0, done.stderr
    return done


def rows(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("command", [command for command in COMMANDS if "meta-train" not in command])
def test_the_commands_of_the_page(folder, l2o_here, command):
    shutil.rmtree(folder / "results", ignore_errors=True)
    run(l2o_here, folder, command)
    [problem] = {row["problem"] for row in rows(folder / "results" / "curves.csv")}
    assert problem in shlex.split(command)
    assert all(float(row["train_loss"]) > 0 for row in rows(folder / "results" / "curves.csv") if row["train_loss"])


def test_meta_training_is_on_the_files_and_can_go_on(folder, l2o_in):
    trained = rows(folder / "runs/mine/metrics.csv")
    assert {row["meta_step"] for row in trained} == {"1", "2"}
    assert any("my_problem.py" in row["problem"] or "my_keras_model.py" in row["problem"] for row in trained)
    # From anywhere, in another process: the run keeps where the files are.
    done = l2o_in(folder.parent, "meta-train", "--resume", "--out", folder / "runs/mine", "--no-xla")
    assert done.returncode == 0, done.stderr


def test_a_relative_name_in_a_spec_is_relative_to_its_folder():
    spec = read_meta_training(DOCS / "examples" / "my_spec.yaml", [])
    problems = [entry.make() for entry in spec.problems]
    assert problems[1].inner.size == 15 and problems[1].inner.rank in (1, 2, 3)
    assert problems[2].name == "spirals" and problems[2].held_out
    assert problems[2] is spec.problems[2].make()
    [validation] = spec.validation.problems
    assert validation.make().rank == 4 and validation.name == f"{DOCS}/examples/my_problem.py:MatrixFactorization"


def test_a_file_that_is_not_there_is_one_line(folder, l2o_here):
    done = l2o_here(folder, "evaluate", "--problem", "nowhere.py:Matrix", "--out", "x")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "nowhere.py" in done.stderr, done.stderr
    assert not (folder / "x").exists()
