"""`l2o score` on made-up curves."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import click.testing
import pytest

from l2o_cli.commands.score import MEASURE, score
from l2o_cli.errors import BadInput
from l2o_cli.evaluation.scoring.scored import MEASURES
from l2o_cli.evaluation.scoring.verdict import NAMES
from tests.evaluation.made_curves import made, write


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    curves = []
    for seed in range(5):
        curves.append(made([2.4, 1, 0.5 + seed / 100, 0.2], optimizer="new", problem="mnist_mlp", seed=seed, pace=0.2))
        curves.append(made([2.4, 2, math.nan, math.nan], optimizer="bad", problem="mnist_mlp", seed=seed))
        curves.append(made([2.4, 1.5, 1, 0.5 + seed / 100], optimizer="adam", problem="mnist_mlp", seed=seed))
    return write(folder, curves)


def invoke(*arguments):
    result = click.testing.CliRunner().invoke(score, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


def test_tables_notes_and_the_verdict(results):
    lines = invoke(results).splitlines()
    new = next(line for line in lines if line.startswith("new "))
    assert "1.50 [1.50, 1.50]" in new and new.split()[-1] == "0/5"
    assert "diverged, and counted as the worst: bad on mnist_mlp, seed 4, after step 10" in lines
    assert any(re.match(r"mnist_mlp +new \* +0\.2 ", line) for line in lines)
    assert any(re.match(r"mnist_mlp +bad +diverged +diverged +- +0 +0 +never +never", line) for line in lines)
    assert any(line.startswith("new beats adam on 1 of 1 problem by final training loss: ") for line in lines)
    assert lines[-1].startswith("bad loses to adam ")


def test_json_has_the_same_numbers(results):
    content = json.loads(invoke(results, "--json"))
    assert content["reference"] == "adam" and content["verdict"] == content["verdicts"][0]
    assert [row["optimizer"] for row in content["optimizers"]] == ["new", "bad", "adam"]
    assert content["optimizers"][0]["speedup_steps"] == 1.5 and content["optimizers"][0]["speedup_seconds"] == 0.75
    assert content["runs"][1]["final_train_loss"] is None and content["runs"][1]["diverged"] is True
    by_bad = json.loads(invoke(results, "--json", "--reference", "bad", "--measure", "equal_time_train_loss"))
    assert (by_bad["reference"], by_bad["measure"]) == ("bad", "equal_time_train_loss")


def test_what_is_not_there_is_said(results, tmp_path):
    with pytest.raises(BadInput, match=r"curves\.csv: cannot be read"):
        invoke(tmp_path)
    with pytest.raises(BadInput, match="reference 'sgd' is not among"):
        invoke(results, "--reference", "sgd")


def test_the_command_offers_just_the_measures():
    assert MEASURE == MEASURES == tuple(NAMES)


def test_scoring_loads_no_tensorflow(results):
    imports = "import sys, pathlib; from l2o_cli.evaluation.scoring.results_folder import score_folder"
    code = f"{imports}; score_folder(pathlib.Path({str(results)!r}))"
    command = [sys.executable, "-c", f"{code}; sys.exit('tensorflow' in sys.modules)"]
    assert subprocess.run(command, check=False).returncode == 0
