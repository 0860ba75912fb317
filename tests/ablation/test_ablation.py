"""The ablation experiment: what is trained, how a command that is repeated goes on, and what is made of the outcome."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from l2o_cli.ablation import experiment
from l2o_cli.ablation.experiment import Interrupted, find_folder, members, run_all
from l2o_cli.ablation.results import AblationRow, as_plain, draw, print_summaries, read_rows, summaries, write_rows
from l2o_cli.errors import BadInput, Failure
from l2o_cli.files import locked
from l2o_cli.stages import Stages

ROOT = Path(__file__).resolve().parents[2]
BASE = {
    "meta_steps": 4,
    "seed": 5,
    "optimizer": {"name": "learned_rate", "options": {"initial_rate": 0.01}},
    "problems": [{"name": "quadratic", "options": {"dimension": 3}}],
    "families_per_step": 1,
    "instances": 2,
    "truncation": {"distribution": "constant", "maximum": 3},
    "horizon": {"distribution": "constant", "maximum": 9},
    "objective": {"epsilon": 1e-3},
    "validation": {"problems": [{"name": "bowl"}], "every": 2, "steps": 10, "instances": 2},
    "checkpoint_every": 1,
}
ROW = AblationRow("base", 5, 2.0, 10, 300, 9.5, -0.5, -1.0, 8, 0, 0)


@pytest.fixture(name="folder")
def _folder(tmp_path):
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    (folder / "log_objective.yaml").write_text("extends: base.yaml\nobjective: {scale: ratio}\nvalidation: {steps: 99}\n")
    return folder


@pytest.fixture(name="trained")
def _trained(monkeypatch):
    """Runs that only leave an artifact behind; what they were given, as (directory, minutes). `codes` are their exit codes."""
    calls, codes = [], {}

    def train(member, minutes, options, stages):
        calls.append((member.path.name, minutes))
        (member.path / "artifact").mkdir(parents=True, exist_ok=True)
        return codes.get(member.name, 0)

    monkeypatch.setattr(experiment, "_train", train)
    monkeypatch.setattr(
        experiment, "outcome", lambda spec, seed, minutes, path: replace(ROW, spec=spec, seed=seed, minutes=minutes)
    )
    calls_and_codes = type("Trained", (), {"calls": calls, "codes": codes})
    return calls_and_codes


def go(folder, out, minutes=2.0, seeds=1, **options):
    return run_all(members(folder, out, seeds, ()), out, minutes, Stages(quiet=True, **options))


def test_all_are_judged_by_the_validation_of_the_base(folder, tmp_path):
    runs = members(folder, tmp_path / "out", 2, ["validation.instances=3", "meta_steps=7"])
    assert [(run.name, run.spec.seed) for run in runs] == [("base", 5), ("log_objective", 5), ("base", 6), ("log_objective", 6)]
    assert {run.spec.meta_steps for run in runs} == {7}
    first = runs[0].spec.validation
    assert (first.steps, first.instances, first.start) == (10, 3, True) and first.objective == runs[0].spec.objective
    assert all(run.spec.validation == first for run in runs)
    assert runs[1].spec.objective.terms[0].scale == "ratio"


def test_what_is_missing_is_said(folder, tmp_path):
    with pytest.raises(BadInput, match="no such folder, nor one among the specs that l2o ships"):
        find_folder(str(tmp_path / "none"))
    assert (find_folder("ablations") / "attention.yaml").is_file()
    with pytest.raises(BadInput, match=r"base\.yaml: validation.problems: missing"):
        members(folder, tmp_path, 1, ["validation.problems=[]"])
    (folder / "extra.yaml").write_text("extends: base.yaml\nobjective: {scale: linear}\n")
    with pytest.raises(BadInput, match=r"extra\.yaml: objective"):
        members(folder, tmp_path, 1, ())
    (folder / "base.yaml").unlink()
    with pytest.raises(BadInput, match=r"there is no base\.yaml"):
        members(folder, tmp_path, 1, ())


def test_finished_runs_are_not_made_again_and_more_minutes_or_seeds_are_added(folder, tmp_path, trained):
    out = tmp_path / "out"
    rows = go(folder, out)
    assert trained.calls == [("base-seed-5", 2.0), ("log_objective-seed-5", 2.0)]
    assert read_rows(out / "ablations.csv") == rows and len(rows) == 2
    trained.calls.clear()
    assert go(folder, out, seeds=1) == rows and trained.calls == []

    complete = [replace(row, minutes=0.5) for row in rows]  # 10 meta-steps of 4: nothing is left to do
    write_rows(out / "ablations.csv", complete)
    assert go(folder, out) == complete and trained.calls == []

    begun = [replace(row, minutes=0.5, meta_steps=3) for row in rows]
    write_rows(out / "ablations.csv", begun)
    assert len(go(folder, out, seeds=2)) == 4
    assert trained.calls == [
        (f"{name}-seed-{seed}", 2.0 if seed == 6 else 1.5) for seed in (5, 6) for name in ("base", "log_objective")
    ]

    (out / "base-seed-5" / "artifact").rmdir()
    trained.calls.clear()
    go(folder, out, seeds=2)
    assert trained.calls == [("base-seed-5", 2.0)]


def test_a_killed_run_gets_what_is_left_of_its_minutes(folder, tmp_path, trained):
    run = tmp_path / "out" / "base-seed-5"
    run.mkdir(parents=True)
    # 45 seconds: of the rows of a meta-step each has the time of all of it. The third is in no checkpoint, and made again.
    (run / "metrics.csv").write_text("meta_step,problem,seconds\n1,a,30\n1,b,30\n2,a,15\n3,a,60\n")
    (run / "checkpoints" / "ckpt-2").mkdir(parents=True)
    go(folder, tmp_path / "out")
    assert trained.calls[0] == ("base-seed-5", 1.25)


def test_a_run_killed_in_the_minutes_that_were_added_gets_what_is_left_of_them(folder, tmp_path, trained):
    out = tmp_path / "out"
    go(folder, out, minutes=0.5)
    rows = [replace(row, meta_steps=2) for row in read_rows(out / "ablations.csv")]
    write_rows(out / "ablations.csv", rows)
    (out / "base-seed-5" / "metrics.csv").write_text("meta_step,problem,seconds\n1,a,15\n2,a,10\n3,a,15\n4,a,15\n")
    (out / "base-seed-5" / "checkpoints" / "ckpt-4").mkdir(parents=True)
    trained.calls.clear()
    go(folder, out, minutes=2.0)
    assert trained.calls == [("base-seed-5", 1.0), ("log_objective-seed-5", 1.5)]


def test_two_commands_do_not_make_the_same_experiment(folder, tmp_path, trained):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out" / ".lock"), pytest.raises(BadInput, match="another l2o ablate is running here"):
        go(folder, tmp_path / "out")


def test_a_run_that_fails_does_not_keep_the_others_from_being_made(folder, tmp_path, trained):
    trained.codes["base"] = 1
    with pytest.raises(Failure, match=r"1 of 2 runs failed: base \(seed 5\)"):
        go(folder, tmp_path / "out")
    assert [row.spec for row in read_rows(tmp_path / "out" / "ablations.csv")] == ["log_objective"]


def test_when_asked_to_stop_nothing_more_is_begun(folder, tmp_path, trained):
    with pytest.raises(Interrupted):
        go(folder, tmp_path / "out", stop=lambda: True)
    assert len(trained.calls) == 1 and not (tmp_path / "out" / "ablations.csv").exists()


def test_summaries_are_means_over_the_seeds_the_best_first():
    scores = {"base": [-2.0, -2.4, -2.8], "good": [-3.0, -3.4], "bad": [float("nan"), -1.0], "new": [float("inf")]}
    rows = [
        replace(
            ROW, spec=spec, seed=seed, best_score=score, start_score=-1.0 - seed, inner_steps=100 * seed, nonfinite_entries=seed
        )
        for spec, values in scores.items()
        for seed, score in enumerate(values)
    ]
    entries = summaries(rows)
    assert [entry.spec for entry in entries[:2]] == ["good", "base"] and {entry.spec for entry in entries[2:]} == {"bad", "new"}
    base = entries[1]
    assert base.best_score == pytest.approx(-2.4) and base.start_score == pytest.approx(-2.0)
    assert base.best_score_error == pytest.approx(np.std([-2.0, -2.4, -2.8], ddof=1) / np.sqrt(3))
    assert (base.inner_steps, base.nonfinite_entries, base.seeds) == (100, 3, 3)
    assert entries[0].against_base == pytest.approx(-0.8)
    plain = {entry["spec"]: entry for entry in as_plain(entries)}
    assert plain["bad"]["best_score"] is None and plain["bad"]["best_score_error"] is None
    json.dumps(list(plain.values()), allow_nan=False)


def test_the_picture_names_all_specs_and_the_direction(tmp_path):
    rows = [
        replace(ROW, spec=spec, best_score=score) for spec, score in [("base", -2.0), ("other", -1.0), ("lost", float("nan"))]
    ]
    draw(summaries(rows), [tmp_path / "bars.svg", tmp_path / "bars.png"], "log(loss / initial loss)", "title")
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "bars.svg").read_text()
    for label in ("base", "other", "lost", "no finite score", "lower is better", "untrained"):
        assert f"<!-- {label}" in text or f">{label}" in text, label


def test_a_table_that_is_none_is_said(tmp_path):
    (tmp_path / "ablations.csv").write_text("spec,seed\nbase,zero\n")
    with pytest.raises(BadInput, match=r"ablations\.csv: not a table of ablations"):
        read_rows(tmp_path / "ablations.csv")


def command(folder, *arguments):
    return ["ablate", str(folder), "--out", str(folder.parent / "out"), "--no-xla", *arguments]


@pytest.mark.slow
def test_the_command_trains_compares_and_does_not_repeat(folder, l2o_in, monkeypatch, capsys):
    done = l2o_in(folder.parent, *command(folder, "--minutes", "3", "--json"))
    assert done.returncode == 0, done.stderr
    entries = {entry["spec"]: entry for entry in json.loads(done.stdout)}
    assert entries.keys() == {"base", "log_objective"}
    # The same weights at the start, judged by the same objective, though one is trained to minimize another.
    assert entries["base"]["start_score"] == entries["log_objective"]["start_score"] < 0
    assert entries["base"]["best_score"] < entries["base"]["start_score"]
    assert entries["base"]["meta_steps"] == 4 and entries["base"]["inner_steps"] == 4 * 2 * 3
    out = folder.parent / "out"
    assert {file.name for file in out.iterdir() if file.is_file()} == {"ablations.csv", "ablations.png", "ablations.svg"}
    with (out / "base-seed-5" / "validation.csv").open(newline="") as file:
        assert [int(row["meta_step"]) for row in csv.DictReader(file)] == [0, 2, 4]

    monkeypatch.setattr(experiment, "_train", lambda *arguments: pytest.fail("trained again"))
    print_summaries(summaries(go(folder, out, minutes=3.0)))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["spec", *entries]
    with pytest.raises(BadInput, match="instances differs from the spec"):
        members(folder, out, 1, ["instances=3"])


@pytest.mark.slow
def test_ctrl_c_saves_the_run_under_way_and_the_command_goes_on(folder, l2o_in):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    metrics = folder.parent / "out" / "base-seed-5" / "metrics.csv"
    process = subprocess.Popen(
        [sys.executable, "-m", "l2o_cli", *command(folder, "--set", "meta_steps=100000")],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and len(metrics.read_text().splitlines()) > 3):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert err.splitlines()[-1] == "stopped and saved; the same command goes on"
    made = len(metrics.read_text().splitlines()) - 1
    assert (metrics.parent / "checkpoints" / f"ckpt-{made}").exists()

    done = l2o_in(folder.parent, *command(folder, "--set", f"meta_steps={made + 2}", "--json"))
    assert done.returncode == 0, done.stderr
    assert f"going on after meta-step {made}" in done.stderr
    assert {entry["meta_steps"] for entry in json.loads(done.stdout)} == {made + 2}
