"""`l2o evaluate` and `l2o compare`, in this process, on problems that take a moment."""

from __future__ import annotations

import csv
import json
import math
from types import SimpleNamespace
from typing import get_args

import click
import click.testing
import matplotlib.image
import numpy as np
import pytest
import yaml

from l2o_cli.commands.compare import compare
from l2o_cli.commands.evaluate import evaluate
from l2o_cli.commands.score import score
from l2o_cli.comparison.cell import labels
from l2o_cli.comparison.results import Entry
from l2o_cli.errors import BadInput
from l2o_cli.reports.comparison.printed import HEADINGS, row_of
from l2o_cli.scoring.measures import COMPARED, CRITERIA
from l2o_cli.scoring.results_folder import read_results
from l2o_cli.scoring.run_scores import SUMMARIZED, Summary
from l2o_cli.spec import ComparisonSpec, EvaluationSpec
from l2o_cli.spec.reading import read_request


def invoke(command, *arguments):
    result = click.testing.CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """adam, and an sgd that diverges, on a quadratic."""
    out = tmp_path_factory.mktemp("evaluate") / "out"
    options = ["--problem", "quadratic", "--optimizer", "adam", "--optimizer", "sgd", "--set", "learning_rate=1"]
    return out, invoke(evaluate, *options, "--steps", 50, "--every", 20, "--seeds", 2, "--out", out, "--json")


def test_evaluate_prints_json_alone(evaluated):
    out, result = evaluated
    adam, sgd = json.loads(result.stdout)
    assert (adam["optimizer"], adam["diverged"], adam["seeds"], adam["trials"]) == ("adam", 0, 2, 0)
    assert (sgd["optimizer"], sgd["diverged"], sgd["final_train_loss"]) == ("sgd", 2, None)
    assert adam["hyperparameters"]["learning_rate"] == 1.0
    assert "adam reached a lower final training loss than sgd on quadratic. With 2 runs on a problem" in result.stderr
    for name in ("curves.csv", "scores.csv", "evaluation.yaml", "spec.yaml", "report.html"):
        assert f"wrote {out / name}" in result.stderr and (out / name).stat().st_size > 0
    count = len(list((out / "pictures").glob("*.png")))
    assert f"wrote {out / 'pictures'}/ ({count} pictures, as PNG and SVG)" in result.stderr
    assert (out / "pictures" / "quadratic.png").stat().st_size > 0
    expected = ["curves.csv", "evaluation.yaml", "pictures", "report.html", "scores.csv", "spec.yaml"]
    assert sorted(path.name for path in out.iterdir()) == expected


def test_curves_and_scores_agree(evaluated):
    out, result = evaluated
    rows = read(out / "curves.csv")
    assert list(rows[0]) == [
        "problem",
        "optimizer",
        "trial",
        "seed",
        "step",
        "seconds",
        "train_loss",
        "validation_loss",
        "test_loss",
    ]
    adam = [row for row in rows if row["optimizer"] == "adam" and row["seed"] == "1"]
    assert [row["step"] for row in adam] == ["0", "20", "40", "50"] and {row["validation_loss"] for row in adam} == {""}
    scores = {(row["optimizer"], row["seed"]): row for row in read(out / "scores.csv")}
    finals = [float(scores["adam", seed]["final_train_loss"]) for seed in "01"]
    assert json.loads(result.stdout)[0]["final_train_loss"] == pytest.approx(np.median(finals), rel=1e-6)
    diverged = scores["sgd", "0"]
    assert diverged["final_train_loss"] == "inf" and 0 < int(diverged["diverged_at"]) < 50
    after = [row for row in rows if row["optimizer"] == "sgd" and int(row["step"]) > int(diverged["diverged_at"])]
    assert after and all(math.isnan(float(row["train_loss"])) for row in after)


def test_the_record_says_what_was_asked(evaluated):
    record = yaml.safe_load((evaluated[0] / "evaluation.yaml").read_text())
    assert record["request"]["seeds"] == [0, 1] and record["request"]["settings"] == {"learning_rate": 1.0}
    assert record["problems"]["quadratic"] == {
        "identity": "Quadratic(dimension=20)",
        "source": "synthetic",
        "parameters": 20,
        "held_out": False,
    }
    assert record["optimizers"]["adam"]["source"] == "built in" and record["environment"]["tensorflow"]


def test_nothing_is_overwritten_unasked(evaluated):
    out, _ = evaluated
    before = (out / "scores.csv").read_text()
    options = ["--problem", "quadratic", "--optimizer", "adam", "--steps", 4, "--seeds", 1, "--out", out]
    with pytest.raises(BadInput, match="is not empty"):
        invoke(evaluate, *options)
    for unused, message in (([], "--overwrite goes with --out"), (["--resume", "--out", out], "exclude each other")):
        with pytest.raises(BadInput, match=message):
            invoke(evaluate, *(options[:-2] if not unused else ()), *unused, "--overwrite")
    assert (out / "scores.csv").read_text() == before
    assert "final train loss" in invoke(evaluate, *options, "--overwrite", "--no-report").stdout
    assert (out / "scores.csv").read_text() != before


@pytest.mark.parametrize(
    "options, message",
    [
        (["--problem", "quadratc"], "did you mean 'quadratic'"),
        (["--problem", "quadratic", "--problem", "quadratic"], "given twice"),
        (["--problem", "quadratic", "--optimizer", "adam"], "'adam' is given twice"),
        (["--problem", "quadratic", "--set", "rate=1"], "--set rate: optimizer 'adam' has no such hyperparameter"),
        (["--problem", "quadratic", "--set", "learning_rate"], "expected NAME=NUMBER"),
        (["--problem", "quadratic", "--set", "learning_rate=nan"], "expected NAME=NUMBER"),
    ],
)
def test_wrong_requests_leave_no_folder(tmp_path, options, message):
    with pytest.raises(BadInput, match=message):
        invoke(evaluate, "--optimizer", "adam", *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Default adam, an untrained learned optimizer and tuned sgd and adam on an MLP."""
    out = tmp_path_factory.mktemp("compare") / "out"
    options = [
        "--problems",
        "random_mlp",
        "--optimizer",
        "learned_rate:untrained",
        "--optimizer",
        "adam",
        "--baselines",
        "adam,sgd",
    ]
    sizes = ["--trials", 3, "--steps", 30, "--every", 10, "--seeds", 2, "--tuning-seeds", 1]
    return out, invoke(compare, *options, *sizes, "--out", out, "--json")


def test_compare_prints_a_row_per_optimizer(compared):
    rows = json.loads(compared[1].stdout)
    assert [row["optimizer"] for row in rows] == ["learned_rate:untrained", "adam (defaults)", "adam", "sgd"]
    assert [row["trials"] for row in rows[:2]] == [0, 0] and all(row["trials"] >= 3 for row in rows[2:])
    assert rows[0]["hyperparameters"] == {} and rows[1]["hyperparameters"]["learning_rate"] == 0.001
    # On the tuning seed the chosen rate was at least as good as the default, which is one of the rates.
    assert rows[2]["final_train_loss"] < rows[1]["final_train_loss"] * 1.2
    assert all(row["final_validation_loss"] > 0 for row in rows)


def test_the_chosen_rate_is_the_best_of_the_tuning_and_no_seed_is_shared(compared):
    out, result = compared
    tuning = [row for row in read(out / "tuning.csv") if row["optimizer"] == "sgd"]
    best = min(tuning, key=lambda row: float(row["final_train_loss"]))
    row = json.loads(result.stdout)[3]
    assert len(tuning) == row["trials"] and best["chosen"] == "1"
    assert float(best["learning_rate"]) == pytest.approx(row["hyperparameters"]["learning_rate"], rel=1e-6)
    reported = [line for line in read(out / "scores.csv") if line["optimizer"] == "sgd"]
    assert {line["trial"] for line in reported} == {best["trial"]}
    assert {line["seed"] for line in tuning}.isdisjoint(line["seed"] for line in reported)
    record = yaml.safe_load((out / "compare.yaml").read_text())
    assert [entry["learning_rate"] for entry in record["tuning"]][1] == row["hyperparameters"]["learning_rate"]


def test_the_picture_is_no_blank(compared):
    image = matplotlib.image.imread(compared[0] / "pictures" / "random_mlp.png")
    assert image.shape[0] > 500 and image.shape[1] > 1000
    assert len(np.unique(image[..., :3].reshape(-1, 3), axis=0)) > 50


def test_compare_refuses_what_cannot_be_tuned(tmp_path):
    with pytest.raises(BadInput, match="no learning_rate to tune"):
        invoke(compare, "--problems", "quadratic", "--optimizer", "adam", "--baselines", "hrnn:untrained")
    with pytest.raises(BadInput, match="no held-out data"):
        invoke(compare, "--problems", "quadratic", "--optimizer", "adam", "--select", "final_validation_loss")


def test_the_command_offers_just_the_criteria():
    offered = {
        option.name: option.type.choices for option in (*compare.params, *score.params) if option.name in ("select", "measure")
    }
    assert offered["select"] == get_args(ComparisonSpec.model_fields["select"].annotation)
    assert set(offered["select"]) == set(CRITERIA) and offered["measure"] == COMPARED


@pytest.mark.parametrize("command, model", [(evaluate, EvaluationSpec), (compare, ComparisonSpec)], ids=["evaluate", "compare"])
def test_options_and_specs_have_the_same_defaults(command, model):
    options = {option.name: option for option in command.params if option.name in model.model_fields}
    assert options.keys() | {"sweeps"} >= model.model_fields.keys()
    spec = read_request(model, None, {} if model is ComparisonSpec else {"problems": ["quadratic"]})
    for name, option in options.items():
        default = option.to_info_dict()["default"]
        if option.multiple and default:
            written = [text for value in default for text in value.split(",")]
            assert written == [one.title if name == "problems" else one for one in getattr(spec, name)], name
        elif not option.multiple:
            assert default == getattr(spec, name) or (default is None and name == "every"), name


def test_table_csv_and_json_agree_to_the_digit(compared):
    out, result = compared
    rows = json.loads(result.stdout)
    scores = read(out / "scores.csv")
    assert rows and {row["optimizer"] for row in rows} == {line["optimizer"] for line in scores}
    for row in rows:
        own = [line for line in scores if line["optimizer"] == row["optimizer"]]
        for name in ("final_train_loss", "mean_log_train_loss", "final_validation_loss", "final_test_loss"):
            # The median of two is their mean.
            assert row[name] == float(f"{sum(float(line[name]) for line in own) / 2:.8g}"), name
    own = [{name: value for name, value in row.items() if name not in SUMMARIZED} for row in rows]
    medians = [{name: row[name] for name in SUMMARIZED} for row in rows]
    cells = [row_of(Entry(Summary(**one, medians=known), [], False)) for one, known in zip(own, medians, strict=True)]
    for heading, name in (("final\ntrain loss", "final_train_loss"), ("final\ntest loss", "final_test_loss")):
        column = HEADINGS.index(heading)
        assert [row_of_cells[column] for row_of_cells in cells] == [f"{row[name]:.4g}" for row in rows]


def test_each_score_is_one_number_wherever_it_is_shown(tmp_path):
    """The tail of 6 steps cuts a window of 4; the verdict goes by what learning rates were chosen by."""
    out = tmp_path / "out"
    options = ["--steps", 110, "--every", 4, "--seeds", 2, "--tuning-seeds", 1, "--trials", 3, "--fresh", "--no-xla"]
    chosen = ["--optimizer", "sgd", "--baselines", "adam", "--select", "mean_log_train_loss"]
    problem = "quadratic(dimension=3)+gradient_noise"
    result = invoke(compare, "--problem", problem, *chosen, *options, "--out", out, "--json", "--quiet")
    rows, scoring, names = json.loads(result.stdout), read_results(out).scoring, ("final_train_loss", "mean_log_train_loss")
    assert scoring.runs
    assert scoring.measure == "mean_log_train_loss" and "er mean log training loss than tuned adam" in result.stderr
    assert "er final training loss than tuned adam" not in result.stderr
    assert "er mean log training loss than tuned adam" in (out / "report.html").read_text()
    scores = {(row["optimizer"], int(row["seed"])): row for row in read(out / "scores.csv")}
    for name in names:
        for run in scoring.runs:
            assert run[name] == float(scores[run.optimizer, run.seed][name])
        medians = {one.optimizer: one.medians[name] for one in scoring.problems}
        assert {row["optimizer"]: row[name] for row in rows} == pytest.approx(medians, rel=1e-7)
    tuned = [row for row in read(out / "tuning.csv") if row["optimizer"] == "adam"]
    assert min(tuned, key=lambda row: float(row["mean_log_train_loss"]))["chosen"] == "1"


def test_the_spec_does_it_again(compared, tmp_path):
    out, result = compared
    again = invoke(compare, out / "spec.yaml", "--out", tmp_path / "again", "--json", "--quiet", "--no-report")
    before, after = json.loads(result.stdout), json.loads(again.stdout)
    for row in (*before, *after):
        del row["step_milliseconds"]
    assert before == after
    assert (tmp_path / "again" / "spec.yaml").read_text() == (out / "spec.yaml").read_text()


def test_options_replace_fields_of_the_spec(tmp_path):
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        "problems: [quadratic, booth]\noptimizers: [adam]\nsteps: 7\nseeds: 1\nsettings: {learning_rate: 0.5}\nxla: false\n"
    )
    rows = json.loads(
        invoke(evaluate, spec, "--problem", "booth", "--seeds", 2, "--out", tmp_path / "out", "--json", "--no-report").stdout
    )
    assert [(row["problem"], row["seeds"]) for row in rows] == [("booth", 2)]
    assert rows[0]["hyperparameters"]["learning_rate"] == 0.5
    assert read(tmp_path / "out" / "curves.csv")[-1]["step"] == "7"
    spec.write_text("problems: [quadratic]\nstep: 7\n")
    with pytest.raises(BadInput, match=r"mine.yaml: step: unknown field"):
        invoke(evaluate, spec)
    spec.write_text("problems: [{name: quadratic, options: {dimensions: 3}}]\n")
    with pytest.raises(BadInput, match=r"mine.yaml: problems.0: .*dimensions"):
        invoke(compare, spec)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--resume"], "--resume needs --out"),
        (["--resume", "--out", "nowhere"], "nothing to resume, there is no spec.yaml"),
        (["--resume", "--out", "nowhere", "--steps", 3], "leave out CONFIG and what is in it"),
        ([], "no problem is given"),
        (["--problem", "digits_mlp,nosuch"], "^--problem 'nosuch': unknown problem 'nosuch'; "),
        (
            ["--problem", "quadratic(dimension=1e12)"],
            r"^--problem 'quadratic\(dimension=1e12\)': options.dimension: 1e\+12 is too",
        ),
    ],
)
def test_what_cannot_be_begun(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=message):
        invoke(evaluate, *options)
    assert not list(tmp_path.iterdir())


def test_labels_tell_optimizers_apart():
    one, other = (SimpleNamespace(label="run", source=source) for source in ("a/run", "b/run"))
    adam = SimpleNamespace(label="adam", source="built in")
    assert labels([one, other, adam]) == ["a/run", "b/run", "adam"]
    assert labels([one, adam], taken=["adam"]) == ["run", "adam (defaults)"]
    with pytest.raises(BadInput, match="'run' is given twice"):
        labels([one, one])


def test_the_table_names_the_steps_of_divergence(tmp_path):
    options = ["--problem", "quadratic", "--optimizer", "sgd", "--set", "learning_rate=1", "--steps", 50, "--seeds", 3]
    lines = invoke(evaluate, *options, "--no-report", "--out", tmp_path / "out").stdout.splitlines()
    steps = sorted(int(row["diverged_at"]) for row in read(tmp_path / "out" / "scores.csv"))
    span = str(steps[0]) if steps[0] == steps[-1] else f"{steps[0]} to {steps[-1]}"
    assert lines[0].split("  ")[0] == "problem" and f"3/3 (step {span})" in lines[1]
    assert lines[1].split()[4:6] == ["diverged", "diverged"] and "quadratic: data synthetic" in lines
