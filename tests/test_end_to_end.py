"""The way through the house with the real commands: meta-train, evaluate, compare, export, use in Keras."""

import csv
import json

import pytest
import yaml

from l2o_cli import cli

SPEC = {
    "meta_steps": 9,
    "optimizer": {"name": "hrnn", "options": {"hidden": [2]}},
    "problems": [{"name": "quadratic", "options": {"dimension": 5}}],
    "families_per_step": 1,
    "instances": 4,
    "truncation": {"distribution": "constant", "maximum": 5},
    "validation": {"problems": [{"name": "quadratic", "options": {"dimension": 6}}], "every": 2, "steps": 10, "instances": 2},
}


def succeed(command, folder, *arguments, **options):
    done = command(folder, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory, l2o_in):
    """A folder in which a small optimizer was meta-trained to runs/tiny, in all quietness."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC))
    options = ("--out", "runs/tiny", "--seed", "3", "--set", "meta_steps=4", "--json")
    done = succeed(l2o_in, folder, "meta-train", "spec.yaml", *options)
    assert json.loads(done.stdout)["meta_steps"] == 4
    lines = done.stderr.splitlines()
    assert lines[0].startswith("meta-training hrnn") and all(line.startswith("meta-step") for line in lines[1:]), done.stderr
    return folder


def test_the_spec_of_a_run_is_the_resolved_one(run):
    spec = yaml.safe_load((run / "runs/tiny/spec.yaml").read_text())
    assert (spec["meta_steps"], spec["seed"], spec["instances"]) == (4, 3, SPEC["instances"])
    assert spec["record"]["config"] == "spec.yaml --set meta_steps=4"


@pytest.mark.slow
def test_a_run_whose_time_is_up_can_be_used_and_resumed(run, l2o_here):
    options = ("--out", "runs/short", "--minutes", "0.001", "--no-xla", "--json")
    small = ("--set", "meta_steps=4", "--set", "optimizer.options.hidden=[2]")
    done = succeed(l2o_here, run, "meta-train", "spec.yaml", *small, *options)
    assert "time is up: saved after meta-step 1 of 4; go on with --resume --out runs/short" in done.stderr
    assert json.loads(done.stdout)["meta_steps"] == 1
    card = yaml.safe_load((run / "runs/short/artifact/card.yaml").read_text())
    assert card["meta_training"]["complete"] is False and card["meta_training"]["meta_steps_planned"] == 4
    done = succeed(l2o_here, run, "meta-train", "--resume", "--out", "runs/short", "--minutes", "60", "--no-xla", "--json")
    assert "going on after meta-step 1" in done.stderr and json.loads(done.stdout)["meta_steps"] == 4


def test_evaluate_compare_and_card(run, l2o_in, l2o_here):
    succeed(l2o_in, run, "evaluate", "--problem", "digits_mlp", "--optimizer", "runs/tiny", "--steps", "20", "--out", "e")
    with (run / "e" / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    losses = ["train_loss", "validation_loss", "test_loss"]
    assert list(rows[0]) == ["problem", "optimizer", "trial", "seed", "step", "seconds", *losses]
    assert {row["optimizer"] for row in rows} == {"tiny"} and {row["step"] for row in rows} == {str(step) for step in range(21)}
    assert (run / "e" / "pictures" / "digits_mlp.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "e" / "report.html").read_text().startswith("<!DOCTYPE html>")

    options = ["--optimizer", "runs/tiny", "--optimizer", "runs/tiny:untrained", "--baselines", "adam"]
    options += ["--problems", "quadratic", "--trials", "3", "--steps", "20", "--seeds", "2", "--out", "c", "--json"]
    done = succeed(l2o_here, run, "compare", *options, "--no-report", "--into-card", "runs/tiny/artifact")
    rows = json.loads(done.stdout)
    assert [row["optimizer"] for row in rows] == ["tiny", "tiny:untrained", "adam"]
    assert "probability of improvement" in done.stderr  # who won, in a sentence
    card = yaml.safe_load((run / "runs/tiny/artifact/card.yaml").read_text())
    assert card["scores"]["rows"] == rows and card["meta_training"]["seed"] == 3


def test_export(run, l2o_here):
    succeed(l2o_here, run, "export", "--optimizer", "runs/tiny", "--format", "safetensors", "--out", "published")
    succeed(l2o_here, run, "export", "--optimizer", "published", "--format", "keras", "--out", "tiny.json")
    again = l2o_here(run, "export", "--optimizer", "published", "--format", "keras", "--out", "tiny.json")
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "tiny.json" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["meta-train"], 2, ["CONFIG"]),
        (["meta-train", "nowhere"], 2, ["nowhere", "quick"]),
        (["meta-train", "spec.yaml", "--set", "meta_stepz=3", "--out", "x"], 2, ["spec.yaml", "meta_stepz"]),
        (["meta-train", "spec.yaml", "--out", "runs/tiny"], 2, ["runs/tiny", "--resume"]),
        (["meta-train", "spec.yaml", "--out", "/proc/nothing/here"], 1, ["/proc/nothing"]),
        (["evaluate", "--problem", "mnist_con", "--out", "x"], 2, ["mnist_con", "mnist_conv"]),
        (["evaluate", "--problem", "quadratic", "--optimizer", "adan", "--out", "x"], 2, ["adan", "adam"]),
        (["evaluate", "--problem", "quadratic", "--optimizer", "runs/none", "--out", "x"], 2, ["runs/none"]),
        (["compare", "--baselines", "adm", "--out", "x"], 2, ["adm", "adam"]),
        (["export", "--optimizer", "runs/tiny", "--format", "onnx", "--out", "x"], 2, ["--format", "onnx"]),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, arguments, code, words, monkeypatch, capsys):
    monkeypatch.chdir(run)
    assert cli.run(arguments) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and all(word in said.err for word in words), said.err
    assert not (run / "x").exists()


@pytest.mark.slow
def test_the_demo_shows_what_meta_training_does(tmp_path, l2o_in):
    """Clearly better than before it by every loss, without a warning, and the published optimizer ahead."""
    trained = succeed(l2o_in, tmp_path, "meta-train", "quick", "--out", "demo", timeout=1200)
    assert "warning" not in trained.stderr
    optimizers = [part for name in ("demo", "demo:untrained", "hrnn") for part in ("--optimizer", name)]
    options = ("--steps", "80", "--seeds", "5", "--out", "e", "--json", "--no-report")
    evaluated = succeed(l2o_in, tmp_path, "evaluate", "--problem", "mnist_conv", *optimizers, *options, timeout=1200)
    demo, before, published = json.loads(evaluated.stdout)
    for loss in ("final_train_loss", "final_validation_loss", "final_test_loss"):
        assert demo[loss] < 0.75 * before[loss], loss
    assert demo["mean_log_train_loss"] < before["mean_log_train_loss"] - 0.3
    assert published["final_train_loss"] < demo["final_train_loss"]
