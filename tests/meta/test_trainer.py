"""Whole meta-training runs at tiny size: they learn, repeat, stop and go on."""

import csv
import threading

import numpy as np
import pytest
import tensorflow as tf
import yaml

from l2o_cli.errors import BadInput, Failure
from l2o_cli.export.artifact import load_artifact
from l2o_cli.meta.trainer import Interrupted, Trainer
from l2o_cli.meta.validation import Validator, overall
from l2o_cli.spec import MetaTraining

TINY = {
    "meta_steps": 8,
    "optimizer": {"name": "hrnn", "options": {"hidden": [3, 2], "initial_rate": [0.01, 0.1]}},
    "problems": [
        {"name": "quadratic", "options": {"dimension": 3}},
        {"name": "rosenbrock", "transforms": [{"name": "gradient_noise", "options": {"deviation": 0.1}}]},
    ],
    "families_per_step": 2,
    "instances": 4,
    "truncation": {"distribution": "exponential", "scale": 3, "minimum": 2, "maximum": 6},
    "horizon": {"distribution": "log_uniform", "minimum": 5, "maximum": 20},
    "validation": {"problems": [{"name": "quadratic", "options": {"dimension": 4}}], "every": 3, "steps": 10, "instances": 2},
    "checkpoint_every": 3,
}
# For what does not depend on the optimizer: building the graphs of hrnn and its gradient takes most of the time.
LIGHT = {"optimizer": {"name": "learned_rate"}, "problems": TINY["problems"][:1], "families_per_step": 1}


def spec(**changes):
    return MetaTraining.model_validate(TINY | changes)


def light(**changes):
    return spec(**LIGHT | changes)


def train(out, stop_after=None, **options):
    """A run to the end, or to the end of the meta-step `stop_after`."""
    trainer = Trainer.open(out=out, xla=False, **options)
    trainer.run(lambda progress: None, lambda: trainer.state.meta_step == stop_after)
    return trainer


@pytest.fixture(scope="module", name="whole")
def _whole(tmp_path_factory):
    """A run that nobody disturbed."""
    return train(tmp_path_factory.mktemp("whole") / "run", spec=spec())


@pytest.fixture(scope="module", name="light_whole")
def _light_whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("light") / "run", spec=light())


def final_state(trainer):
    return {name: np.asarray(leaf) for name, leaf in trainer.state.capture()().items() if name != "progress"}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_a_file_beside_a_problem_that_changed_since_is_told_of(tmp_path, capsys):
    (tmp_path / "sizes.py").write_text("DIMENSION = 3\n")
    text = "from l2o_problems.quadratics import Quadratic\nfrom sizes import DIMENSION\nmine = Quadratic(DIMENSION)\n"
    (tmp_path / "mine.py").write_text(text)
    Trainer.open(light(problems=[f"{tmp_path}/mine.py:mine"]), tmp_path / "run", xla=False)
    Trainer.open(None, tmp_path / "run", resume=True, xla=False)
    assert capsys.readouterr().err == ""
    (tmp_path / "sizes.py").write_text("DIMENSION = 4\n")
    Trainer.open(None, tmp_path / "run", resume=True, xla=False)
    said = f"l2o: warning: {tmp_path}/sizes.py was changed after the run had begun; it goes on with what is there now"
    assert capsys.readouterr().err.splitlines() == [said]


def test_a_run_may_begin_with_the_weights_of_another(tmp_path):
    # Its weights are not in alphabetical order, in which an artifact has them.
    rule = {"optimizer": {"name": "learned_adam"}}
    first = train(tmp_path / "first", spec=light(**rule))
    weights = {name: np.array(value) for name, value in load_artifact(first.directory.artifact).weights.items()}
    further = Trainer.open(light(**rule, begin_from=str(tmp_path / "first")), tmp_path / "further", xla=False)
    tf.nest.map_structure(np.testing.assert_array_equal, dict(further.state.weights.current), weights)
    whole = train(tmp_path / "whole", spec=light(**rule, begin_from=str(tmp_path / "first")))
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", stop_after=4, spec=light(**rule, begin_from=str(tmp_path / "first")))
    (tmp_path / "first").rename(tmp_path / "gone")
    parts = train(tmp_path / "parts", spec=None, resume=True)  # it needs them no more
    assert_same(final_state(parts), final_state(whole))


def test_weights_of_another_optimizer_are_no_beginning(tmp_path):
    with pytest.raises(BadInput, match=r"^begin_from: 'hrnn' is another optimizer: decay_bias is \[2, 1, 1\], not missing"):
        Trainer.open(light(begin_from="hrnn"), tmp_path / "run", xla=False)
    assert not (tmp_path / "run").exists()


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_writes_everything(whole):
    trainer, out = whole, whole.directory.path
    metrics, validation = read(out / "metrics.csv"), read(out / "validation.csv")
    assert [int(row["meta_step"]) for row in metrics] == [step for step in range(1, 9) for _ in range(2)]
    assert all(np.isfinite(float(row["meta_loss"])) and int(row["inner_steps"]) > 0 for row in metrics)
    assert [int(row["meta_step"]) for row in validation] == [3, 6, 8]
    resolved = yaml.safe_load((out / "spec.yaml").read_text())
    assert resolved["record"]["data"] and resolved["record"]["tensorflow"]
    events = [event for file in (out / "events").iterdir() for event in tf.compat.v1.train.summary_iterator(str(file))]
    tags = {value.tag for event in events for value in event.summary.value}
    assert {"mean_norm", "meta_gradient", "validation"} <= tags
    assert (out / "checkpoints" / "ckpt-8").exists()
    loaded = load_artifact(out / "artifact")
    assert loaded.optimizer == trainer.optimizer and loaded.card["meta_training"]["meta_steps"] == 8
    best = trainer.state.best
    assert best.keys() == loaded.weights.keys()
    for name, value in best.items():
        np.testing.assert_array_equal(loaded.weights[name], value)


def test_same_seed_same_bits(tmp_path, whole):
    assert_same(final_state(whole), final_state(train(tmp_path / "same", spec=spec())))


def test_other_seed_other_bits(tmp_path, light_whole):
    first, other = final_state(light_whole), final_state(train(tmp_path / "other", spec=light(seed=1)))
    assert first.keys() == other.keys()
    weights = [name for name in first if name.startswith("weights/")]
    assert weights
    for name in weights:
        assert not np.array_equal(first[name], other[name]), name


@pytest.mark.parametrize("stop_after", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, whole, stop_after):
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", stop_after, spec=spec())
    assert not (tmp_path / "parts" / "artifact").exists()
    assert_same(final_state(whole), final_state(train(tmp_path / "parts", spec=None, resume=True)))
    for name in ("metrics.csv", "validation.csv"):
        with_times = ("seconds", "compile_seconds")
        rows = [
            [{key: value for key, value in row.items() if key not in with_times} for row in read(run / name)]
            for run in (whole.directory.path, tmp_path / "parts")
        ]
        assert rows[0] == rows[1]


TWO = {"problems": TINY["problems"], "families_per_step": 1}


@pytest.fixture(scope="module", name="two_whole")
def _two_whole(tmp_path_factory):
    """Of two families, one of which is drawn in each meta-step."""
    return train(tmp_path_factory.mktemp("two") / "run", spec=light(**TWO))


@pytest.mark.parametrize(
    ("moment", "meta_step"),
    [
        ("estimated", None),  # in which the second family is first drawn
        ("validated", 5),  # in which there is a validation
        pytest.param("estimated", 0, marks=pytest.mark.slow),
        pytest.param("estimated", 5, marks=pytest.mark.slow),
        pytest.param("validated", 0, marks=pytest.mark.slow),
    ],
)
def test_what_is_saved_within_a_meta_step_goes_on_bit_for_bit(tmp_path, two_whole, monkeypatch, moment, meta_step):
    """As a signal has it saved, in another thread, while native code keeps the main one."""
    trainer = Trainer.open(light(**TWO), tmp_path / "run", xla=False)
    if meta_step is None:
        drawn = [row["problem"] for row in read(two_whole.directory.path / "metrics.csv")]
        meta_step = next(step for step, problem in enumerate(drawn) if problem != drawn[0])
    estimate, validate = trainer.state.families.estimate, trainer._validate

    def kill():
        thread = threading.Thread(target=lambda: said.append(trainer.save()))
        thread.start()
        thread.join()
        raise KeyboardInterrupt

    def estimated(request):
        answer = estimate(request)
        if moment == "estimated" and request.meta_step == meta_step:
            kill()
        return answer

    def validated():
        if moment == "validated" and trainer.state.meta_step == meta_step + 1:
            kill()
        return validate()

    monkeypatch.setattr(trainer.state.families, "estimate", estimated)
    monkeypatch.setattr(trainer, "_validate", validated)
    said = []
    with pytest.raises(KeyboardInterrupt):
        trainer.run(lambda progress: None)
    # The one before, unless it was made and is not validated.
    whole = meta_step + 1 if moment == "validated" and (meta_step + 1) % 3 else meta_step
    assert said == [f"saved after meta-step {whole}" if whole else "no meta-step is finished yet"]
    assert (tmp_path / "run" / "checkpoints" / f"ckpt-{whole}").exists() == (whole > 0)
    assert_same(final_state(two_whole), final_state(train(tmp_path / "run", spec=None, resume=True)))
    columns = [[row["horizon"] for row in read(run / "horizons.csv")] for run in (two_whole.directory.path, tmp_path / "run")]
    assert columns[0] == columns[1]


EVERYTHING = {
    "pes": {
        "problems": TINY["problems"][1:],
        "families_per_step": 1,
        "objective": {"scale": "ratio", "on": "fresh"},
        "phase": "aligned",
    },
    "full_es": {"horizon": {"distribution": "uniform", "minimum": 3, "maximum": 6}, "families_per_step": 1},
    "combined": {"meta_optimizer": {"name": "keras.Lion", "clip_running_rms": 2.0}},
    "reparameterization": {
        "truncation": {"distribution": "constant", "maximum": 6, "growth": {"kind": "linear", "start": 2, "over": 6}},
        "objective": {"weight_decay": 0.1},
    },
}


# They take as long again as the others, and share all of their code with them.
SLOW = ("full_es", "pes", "reparameterization", "combined")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in EVERYTHING])
def test_every_estimator_goes_on_bit_for_bit(tmp_path, name):
    changes = EVERYTHING[name] | {"estimator": {"name": name}, "meta_steps": 6}
    whole = train(tmp_path / "whole", spec=spec(**changes))
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", 3, spec=spec(**changes))
    resumed = train(tmp_path / "parts", spec=None, resume=True)
    assert_same(final_state(whole), final_state(resumed))
    rows = read(tmp_path / "parts" / "metrics.csv")
    assert all(np.isfinite(float(row["meta_loss"])) for row in rows)
    diagnostics = [column for column in rows[0] if column.startswith("estimator_")]
    assert diagnostics and all(np.isfinite(float(row[column])) for row in rows for column in diagnostics)
    assert read(tmp_path / "parts" / "horizons.csv") == read(tmp_path / "whole" / "horizons.csv")


def test_rows_after_the_checkpoint_are_cut_and_half_rows_dropped(tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path / "run", 3, spec=light())
    with (tmp_path / "run" / "metrics.csv").open("a") as file:
        file.write("4,quadratic,3,0.1,0.1,0,0,0,0.1,0.1,12,0.1\n5,quadra")
    train(tmp_path / "run", spec=None, resume=True)
    assert [int(row["meta_step"]) for row in read(tmp_path / "run" / "metrics.csv")] == list(range(1, 9))


def test_a_damaged_last_checkpoint_is_passed_over(tmp_path, light_whole):
    with pytest.raises(Interrupted):
        train(tmp_path / "run", 6, spec=light())
    folder = tmp_path / "run" / "checkpoints"
    next(folder.glob("ckpt-6/*.data*")).write_bytes(b"")
    assert_same(final_state(light_whole), final_state(train(tmp_path / "run", spec=None, resume=True)))


def test_no_readable_checkpoint_is_a_failure(tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path / "run", 6, spec=light())
    for path in (tmp_path / "run" / "checkpoints").glob("ckpt-*/*.data*"):
        path.write_bytes(b"")
    with pytest.raises(Failure, match=r"ckpt-6.*can be read"):
        train(tmp_path / "run", spec=None, resume=True)


def test_a_directory_in_use_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="already used"):
        Trainer.open(spec(), tmp_path / "run")
    with pytest.raises(BadInput, match="nothing to resume"):
        Trainer.open(None, tmp_path / "run", resume=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_another_spec_is_not_resumed_but_more_meta_steps_are(tmp_path):
    train(tmp_path / "run", spec=light(meta_steps=2))
    with pytest.raises(BadInput, match="instances differs"):
        Trainer.open(light(instances=5), tmp_path / "run", resume=True)
    assert train(tmp_path / "run", spec=light(meta_steps=4), resume=True).state.meta_step == 4


def test_meta_training_learns_and_keeps_the_best(tmp_path):
    changes = {
        "meta_steps": 60,
        "problems": [{"name": "quadratic", "options": {"dimension": 3}}],
        "instances": 16,
        "truncation": {"distribution": "constant", "maximum": 10},
        "horizon": {"distribution": "constant", "maximum": 40},
        "meta_optimizer": {"learning_rate": 0.01, "normalize_families": True},
        "ema": 0.8,
        "validation": {
            "problems": [{"name": "quadratic", "options": {"dimension": 4}}],
            "every": 10,
            "steps": 40,
            "instances": 16,
        },
    }
    trained = train(tmp_path / "run", spec=spec(**changes))
    validator = Validator(trained.spec.validation, trained.spec.objective, trained.optimizer, 99, xla=False)
    untrained = overall(validator.scores(trained.optimizer.init_weights(5)))
    learned = overall(validator.scores(trained.state.best))
    # A mean log ratio: e^1 lower losses on average, on instances that neither training nor selection has seen.
    assert learned < untrained - 1.0
    kept = [float(row["objective"]) for row in read(tmp_path / "run" / "validation.csv")]
    assert trained.state.best_score == pytest.approx(min(kept))
