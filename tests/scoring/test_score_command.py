"""`l2o score` on made-up curves."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys

import click.testing
import pytest

from l2o_cli.commands.score import score
from l2o_cli.comparison.results import write_yaml
from l2o_cli.errors import BadInput
from l2o_cli.scoring.results_folder import read_results
from l2o_cli.spec.names import make_problem
from tests.scoring.made_curves import made, write


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
    assert any(line.startswith("new reached a lower final training loss than adam on mnist_mlp, 1.5 times as") for line in lines)
    said, statistics, _, ratios = lines[-4:]
    assert said == "bad reached a higher final training loss than adam on mnist_mlp. It was slower in steps and seconds."
    assert statistics.startswith("  It loses to adam: ") and "at 0 of 1 problem (0 %)" in ratios


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


def test_scoring_loads_no_tensorflow(results):
    code = f"import sys; from l2o_cli.commands.score import score; score([{str(results)!r}], standalone_mode=False)"
    command = [sys.executable, "-c", f"{code}; sys.exit('tensorflow' in sys.modules)"]
    assert subprocess.run(command, check=False).returncode == 0


def test_it_is_scored_by_what_hyperparameters_were_chosen_by(results, tmp_path):
    folder = tmp_path / "chosen"
    shutil.copytree(results, folder)
    (folder / "compare.yaml").write_text("request: {select: mean_log_train_loss}\n")
    said = invoke(folder)
    assert (
        "* best by the median of mean_log_train_loss" in said
        and "new reached a lower mean log training loss than adam on mnist_mlp" in said
    )
    assert json.loads(invoke(folder, "--json"))["measure"] == "mean_log_train_loss"
    assert json.loads(invoke(folder, "--json", "--measure", "final_train_loss"))["measure"] == "final_train_loss"


def test_a_learned_optimizer_called_adam_is_no_adam(results, tmp_path):
    folder = tmp_path / "named"
    shutil.copytree(results, folder)
    (folder / "evaluation.yaml").write_text("optimizers: {adam: {source: runs/adam, learned: true}}\n")
    assert json.loads(invoke(results, "--json"))["reference"] == "adam"
    assert json.loads(invoke(folder, "--json"))["reference"] is None


def test_joined_runs_of_other_lengths_are_cut_and_that_is_said(tmp_path):
    short = [made([4.0, *[1.0] * 10], optimizer="short", seed=seed) for seed in range(2)]
    write(tmp_path, [*short, *(made([4.0, *[2.0] * 10, *[0.1] * 10], optimizer="long", seed=seed) for seed in range(2))])
    said = invoke(tmp_path).splitlines()
    assert "p: runs of 100 and 200 steps are scored by their first 100 steps" in said
    assert any(line.startswith("short reached a lower final training loss than long on p. With 2 runs on") for line in said)
    content = json.loads(invoke(tmp_path, "--json"))
    assert content["cut"] == said[said.index(content["cut"][0]) :][:1] and {run["steps"] for run in content["runs"]} == {100}


def test_small_numbers_keep_their_digits_and_names_stay_themselves(tmp_path):
    names = (":zero:", "[bold]x[/bold] [/]", "学習 :smile:")
    losses = [[4.0, 2.0, 1e-4 * (1 + seed)] for seed in range(3)]
    curves = [made(losses[seed], optimizer=name, problem="損失", seed=seed) for name in names for seed in range(3)]
    write(tmp_path, curves)
    record = {
        "problems": {"損失": {"identity": make_problem("digits_mlp").identity, "source": make_problem("digits_mlp").source}}
    }
    write_yaml(tmp_path / "compare.yaml", record)
    lines = invoke(tmp_path).splitlines()
    for name in names:
        assert any(line.startswith(name) for line in lines) and any(line.startswith("損失") and name in line for line in lines)
    loss = read_results(tmp_path).scoring.optimizers[0].pooled["normalized_loss"]
    shown = next(line for line in lines if line.startswith(":zero:"))
    assert 0 < abs(loss.value) < 0.005 and str(loss) in shown
    assert [float(part.strip("[],")) for part in str(loss).split()] == pytest.approx([loss.value, loss.low, loss.high], rel=0.05)
