"""Sweeps of a comparison: what they consist of, tiny real ones, and what is left when one is ended."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import yaml
from l2o_problems.quadratics import Quadratic
from l2o_problems.registry import PROBLEMS

from l2o_cli.comparison.cell import Cell, Terms, labelled
from l2o_cli.comparison.run_cell import run_cell
from l2o_cli.comparison.sweeps import run as sweep_run
from l2o_cli.comparison.sweeps.meta_trained import horizons, initial_rates, training_problems, with_initial_rate
from l2o_cli.comparison.sweeps.plan import plan_sweeps
from l2o_cli.comparison.sweeps.run import COLUMNS, run_sweeps
from l2o_cli.comparison.tuning.tiers import Tier, parse_baselines
from l2o_cli.errors import BadInput
from l2o_cli.export.artifact import LoadedOptimizer, save_artifact
from l2o_cli.export.resolve import resolve
from l2o_cli.optimizers.learned_hyperparameters import LearnedRate
from l2o_cli.rollout import Rollout
from l2o_cli.runs.contenders import contender
from l2o_cli.runs.store import RunStore
from l2o_cli.scoring.sweep_tables import read_tables
from l2o_cli.spec.sweeps import SweepSpec
from l2o_cli.stages import Stages, Stopped

TINY = "logistic_regression(features=3,batch_size=4,samples=16)"


def planned(*entries, optimizers=(), baselines=(), **options):
    """The sweeps of a small comparison."""
    terms = Terms(**{"steps": 8, "seeds": 2, "xla": False, "trials": 3, "tuning_seeds": 1, **options})
    given = [contender(name) for name in optimizers]
    return plan_sweeps(specs(*entries), terms, *labelled(given, parse_baselines(baselines, ["sweep"])))


def specs(*entries):
    return [SweepSpec.model_validate(entry) for entry in entries]


def run(out, entries, stages=None, **options):
    run_sweeps(planned(*entries, **options), out, stages or Stages(quiet=True))
    return rows_of(out)


def rows_of(out):
    with (out / "sweeps.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def points(entry, steps=8):
    [sweep] = planned(entry, steps=steps)
    return sweep.points


@pytest.mark.parametrize(
    ("over", "problem", "value", "shapes"),
    [
        ("width", "cluster_mlp(hidden=[4,4],inputs=5,classes=3)", 7, [(5, 7), (7,), (7, 7), (7,), (7, 3), (3,)]),
        ("depth", "cluster_mlp(hidden=[4,6],inputs=5,classes=3)", 1, [(5, 4), (4,), (4, 3), (3,)]),
        ("depth", "cluster_mlp(hidden=[4],inputs=5,classes=3)", 2, [(5, 4), (4,), (4, 4), (4,), (4, 3), (3,)]),
        ("width", "mnist_conv+rescale", 2, [(3, 3, 1, 2), (2,), (5, 5, 2, 2), (2,), (28 * 28 * 2, 10), (10,)]),
        ("depth", "mnist_conv(channels=[4,8],strides=[2,2])", 3, [(3, 3, 1, 4), (4,), (5, 5, 4, 8), (8,), (5, 5, 8, 8), (8,)]),
    ],
)
def test_shapes_at_a_width_and_a_depth(over, problem, value, shapes):
    [point] = points({"over": over, "problem": problem, "values": [value]})
    assert list(point.problem.param_shapes.values())[: len(shapes)] == shapes


@pytest.mark.parametrize(
    ("over", "problem", "value", "option", "expected"),
    [
        ("width", "mnist_resnet", 4, "widths", (4, 8, 16)),
        ("depth", "mnist_resnet", 2, "blocks", 2),
        ("width", "char_rnn", 8, "hidden", 8),
        ("width", "transformer", 8, "width", 8),
        ("depth", "transformer", 1, "layers", 1),
        ("batch_size", "mnist_mlp", 2, "batch_size", 2),
        ("step_time", "mnist_conv", 3, "batch_size", 3),
    ],
)
def test_options_at_a_value(over, problem, value, option, expected):
    [point] = points({"over": over, "problem": problem, "values": [value]})
    assert getattr(point.problem, option) == expected and point.value == value


def test_points_that_keep_the_problem():
    scaled = points({"over": "input_scale", "problem": TINY, "values": [0.1, 10]})
    assert [point.problem.factor for point in scaled] == [0.1, 10.0]
    assert scaled[0].title == f"{TINY}+scaled_inputs(factor=0.1)" and scaled[0].problem.inner.features == 3
    assert [(point.value, point.steps) for point in points({"over": "horizon", "problem": TINY}, steps=30)] == [
        (1, 30),
        (2, 60),
        (10, 300),
    ]
    assert {point.title for point in points({"over": "horizon", "problem": TINY})} == {TINY}
    powers = points({"over": "option", "option": "power", "problem": "norm(dimension=3)", "values": [1, 3]})
    assert [(point.title, point.problem.power, point.steps) for point in powers] == [
        ("norm(dimension=3,power=1)", 1.0, 8),
        ("norm(dimension=3,power=3)", 3.0, 8),
    ]
    assert [point.steps for point in points({"over": "width", "problem": "mnist_mlp", "steps": 5})] == [5, 5, 5]


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([{"over": "width", "problem": "quadratik"}], "sweeps.0.problem: unknown problem 'quadratik'"),
        ([{"over": "width", "problem": "quadratic"}], "sweeps.0.problem: quadratic has no width; any option"),
        ([{"over": "depth", "problem": "char_rnn"}], "sweeps.0.problem: char_rnn has no depth"),
        ([{"over": "step_time", "problem": "quadratic"}], "sweeps.0.problem: quadratic has no batch size"),
        ([{"over": "input_scale", "problem": "quadratic"}], "sweeps.0.values.0: .*quadratic has no inputs to scale"),
        ([{"over": "width", "problem": "transformer", "values": [2, 3]}], "sweeps.0.values.1: .*heads"),
        ([{"over": "option", "option": "size", "problem": "norm", "values": [1]}], "sweeps.0.values.0: .*options.size: unknown"),
        ([{"over": "horizon", "problem": TINY}] * 2, "sweeps.1.name: two sweeps are called 'horizon-logistic_regression'"),
        ([{"over": "horizon", "problem": TINY, "optimizers": ["adamm"]}], "sweeps.0.optimizers: unknown optimizer 'adamm'"),
        ([{"over": "horizon", "problem": TINY, "optimizers": ["lbfgs"]}], "sweeps.0.optimizers: .*without minibatches"),
        ([{"over": "horizon", "problem": TINY, "baselines": ["adam:swep"]}], "sweeps.0.baselines: 'adam:swep': unknown tier"),
        ([{"over": "horizon", "problem": TINY, "baselines": ["adam:random:nadamw:2"]}], "sweeps.0.baselines: 'adam' has no"),
        (
            [{"over": "training_problems", "problem": TINY, "checkpoints": ["hrnn", "runs/none"]}],
            "sweeps.0.checkpoints.1: runs/none: no such",
        ),
        (
            [{"over": "training_problems", "problem": TINY, "checkpoints": ["adam"]}],
            "sweeps.0.checkpoints.0: adam: its card does not say",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_does(entries, complaint):
    with pytest.raises(BadInput, match=f"^{complaint}"):
        planned(*entries, baselines=["adam"])


def test_lbfgs_has_no_step_to_be_timed():
    with pytest.raises(BadInput, match=r"^sweeps.0.optimizers: .*lbfgs"):
        planned({"over": "step_time", "problem": TINY}, optimizers=["lbfgs"])


def card(optimizer, problems, horizon=None):
    spec = {"horizon": horizon, "problems": [{"name": name} for name in problems]}
    content = {"meta_training": {"problems": problems, "spec": spec}}
    return LoadedOptimizer("made", optimizer, optimizer.init_weights(0), content, "")


@pytest.mark.parametrize(
    ("horizon", "expected"),
    [
        ({"distribution": "log_uniform", "minimum": 50, "maximum": 2000}, (50, 2000)),
        ({"distribution": "constant", "minimum": 50, "maximum": 300}, (300, 300)),
        ({"distribution": "exponential", "scale": 20, "minimum": 10, "maximum": 50}, (10, 50)),
        ({"distribution": "exponential", "scale": 20, "minimum": 10, "maximum": 5000}, (10, 10 + round(20 * math.log(100)))),
        ({"distribution": "of another version"}, None),
        (None, None),
    ],
)
def test_the_horizons_of_a_card(horizon, expected):
    assert horizons(card(LearnedRate(), ["quadratic"], horizon)) == expected


def test_families_may_have_horizons_of_their_own():
    one = card(LearnedRate(), ["a", "b"], {"distribution": "uniform", "minimum": 20, "maximum": 30})
    one.card["meta_training"]["spec"]["problems"][1]["horizon"] = {"distribution": "constant", "maximum": 400}
    assert horizons(one) == (20, 400) and training_problems(one) == 2


def test_what_the_published_optimizer_was_meta_trained_on():
    hrnn = resolve("hrnn")
    assert horizons(hrnn) == (50, 2000) and training_problems(hrnn) == 10 and initial_rates(hrnn.optimizer) == (1e-3, 3e-3)
    adam = resolve("adam")
    assert (horizons(adam), training_problems(adam), initial_rates(adam.optimizer)) == (None, None, None)
    assert initial_rates(LearnedRate(initial_rate=0.1)) is None  # where a weight began


def test_the_first_step_has_the_initial_rate_that_was_asked_for():
    """All else being equal, the step of the untrained optimizer is in proportion to its initial rate."""
    one = resolve("hrnn(hidden=[3],absolute_rate=false):untrained+decay")
    steps = []
    for rate in (1e-2, 1.0):
        changed = with_initial_rate(one, rate)
        rollout = Rollout(Quadratic(4), changed.optimizer, maximum=1, xla=False)
        carry = rollout.start(changed.weights, 3, 2)
        np.testing.assert_allclose(carry.state["log_rate"], np.log(rate), rtol=1e-6)
        steps.append((rollout(changed.weights, carry, 1)[0].params - carry.params).numpy())
    np.testing.assert_allclose(steps[1], 100 * steps[0], rtol=1e-3)
    assert initial_rates(one.optimizer) == (1e-3, 3e-3)


def test_learning_rates_as_they_are(tmp_path):
    """Hand-designed optimizers at each rate, a learned one too where it draws rates, the others run once; nothing is tuned."""
    rates = [1e-3, 1e-1]
    entry = {"over": "learning_rate", "problem": "quadratic(dimension=2)", "values": rates}
    optimizers = ["hrnn(hidden=[2]):untrained", "learned_rate:untrained"]
    rows = run(tmp_path, [entry], optimizers=optimizers, baselines=["sgd", "sgd:global"])
    assert list(rows[0]) == list(COLUMNS) and len(rows) == 3 * len(rates) * 2
    losses = {}
    for row in rows:
        losses.setdefault(row["optimizer"], {}).setdefault(float(row["value"]), []).append(float(row["final_train_loss"]))
        assert row["trials"] == "0"
    assert list(losses) == ["hrnn(hidden=[2]):untrained", "learned_rate:untrained", "sgd"]
    assert losses["learned_rate:untrained"][1e-3] == losses["learned_rate:untrained"][1e-1]
    assert losses["hrnn(hidden=[2]):untrained"][1e-3] != losses["hrnn(hidden=[2]):untrained"][1e-1]
    # Gradient descent, by hand: the last of 8 losses.
    for rate, of_seeds in losses["sgd"].items():
        for seed, loss in enumerate(of_seeds):
            carry = Rollout(Quadratic(2), resolve("sgd").optimizer, maximum=1, xla=False).start({"learning_rate": 0.0}, seed, 1)
            w, y = (carry.task[name][0].numpy().astype(float) for name in ("w", "y"))
            x = carry.params[0].numpy().astype(float)
            for _ in range(7):
                x = x - rate * w.T @ (w @ x - y)
            assert loss == pytest.approx(0.5 * np.sum((w @ x - y) ** 2), rel=1e-4)
    facts = yaml.safe_load((tmp_path / "sweeps.yaml").read_text())["sweeps"][0]
    assert facts["optimizers"]["hrnn(hidden=[2]):untrained"]["meta_trained"] == [1e-3, 3e-3]


def test_baselines_are_tuned_at_each_value_or_once_for_all(tmp_path):
    """The greater the curvature, the smaller the best rate of gradient descent."""
    entry = {"over": "option", "option": "condition", "problem": "bowl", "values": [0.1, 1000]}
    rows = run(tmp_path, [entry], baselines=["sgd", "sgd:global", "sgd:defaults"])
    rates = {}
    for row in rows:
        rates.setdefault(row["optimizer"], []).append(float(row["hyperparameters"].removeprefix("learning_rate=")))
    assert rates["sgd"][0] == rates["sgd"][1] >= 100 * rates["sgd"][2]
    assert len(set(rates["sgd (global)"])) == 1 and set(rates["sgd (defaults)"]) == {0.01}
    # The same as a comparison on that problem.
    terms, [_, point] = Terms(8, 2, xla=False, trials=3, tuning_seeds=1), points(entry)
    [direct] = run_cell(Cell(point.title, point.problem, "sgd", contender("sgd"), terms, Tier()), Stages(quiet=True))
    swept = [float(row["final_train_loss"]) for row in rows if row["optimizer"] == "sgd" and row["value"] == "1000"]
    assert swept == pytest.approx([one.losses[-1] for one in direct.runs], rel=1e-6)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Two checkpoints, meta-trained on one problem and on three, so their cards say, the second with the better rate."""
    folder = tmp_path_factory.mktemp("artifacts")
    horizon = {"distribution": "uniform", "minimum": 5, "maximum": 12}
    for name, problems, rate in (("one", ["a"], 1e-4), ("three", ["a", "b", "c"], 0.1)):
        optimizer = LearnedRate(initial_rate=rate)
        save_artifact(folder / name, optimizer, optimizer.init_weights(0), card(optimizer, problems, horizon).card)
    return [str(folder / name) for name in ("three", "one")]


def test_training_problems_and_horizons(tmp_path, artifacts):
    quadratic = "quadratic(dimension=2)"
    entries = [
        {
            "over": "training_problems",
            "problem": quadratic,
            "checkpoints": artifacts,
            "optimizers": [],
            "baselines": ["adam:sweep:1"],
        },
        {"over": "horizon", "problem": quadratic, "values": [1, 2], "optimizers": [artifacts[0]], "baselines": []},
    ]
    rows = run(tmp_path, entries, baselines=["adam"])
    count, horizon = read_tables(tmp_path)
    assert (count.values, [line.label for line in count.lines]) == ([1, 3], ["meta-trained", "adam (sweep:1)"])
    trained, adam = (line.medians("final_train_loss") for line in count.lines)
    assert trained[1] < trained[0] and adam[0] == adam[1]
    assert {(row["value"], row["checkpoint"]) for row in rows if row["checkpoint"]} == {("3", "three"), ("1", "one")}
    assert (horizon.values, horizon.places) == ([1, 2], [8, 16])
    [line] = horizon.lines
    assert line.meta_trained == (5, 12) and line.learned
    assert {(row["value"], row["steps"]) for row in rows if row["over"] == "horizon"} == {("1", "8"), ("2", "16")}


def test_values_of_any_kind_are_found_again(tmp_path):
    """A size that is None, a list, and one that has more digits than the table."""
    values = [None, [1, 2]]
    entry = {"over": "option", "option": "strides", "problem": "image_conv(data=digits,channels=[2,2])", "values": values}
    tilted = {"over": "option", "option": "angle", "problem": "bowl", "values": [1 / 3, 2]}
    run(tmp_path, [{**entry, "steps": 1}, tilted], optimizers=["sgd"], seeds=1)
    strides, angles = read_tables(tmp_path)
    assert strides.values == values and strides.places is None and angles.values == [1 / 3, 2]
    for table in (strides, angles):
        assert [len(runs) for runs in table.lines[0].measured["final_train_loss"]] == [1, 1]


def test_checkpoints_of_one_number_of_problems_are_points_of_one_value(tmp_path, artifacts):
    entry = {"over": "training_problems", "problem": "quadratic(dimension=2)", "checkpoints": [artifacts[0]] * 2}
    rows = run(tmp_path, [entry], optimizers=["sgd"], seeds=1)
    assert [row["optimizer"] for row in rows] == ["meta-trained", "sgd", "meta-trained"]


def test_the_time_of_a_step_has_no_losses(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_run, "SECONDS", 1e-3)
    entry = {"over": "step_time", "problem": TINY, "values": [4]}
    rows = run(tmp_path, [entry], optimizers=["adam"], baselines=["sgd", "sgd:global"])
    assert [(row["value"], row["optimizer"]) for row in rows] == [("4", "adam"), ("4", "sgd")]
    assert all(float(row["step_milliseconds"]) > 0 and not row["final_train_loss"] and not row["seed"] for row in rows)
    assert read_tables(tmp_path)[0].measures == ["step_milliseconds"]


def test_optimizers_are_timed_in_turn_and_the_median_is_told(monkeypatch):
    """Of a clock by which round r takes r times as long, and gradient descent half of Adam's time."""
    told = []

    def seconds(rollout, weights, carry, steps):
        told.append(rollout.optimizer.name)
        return steps * len(told) * (1.0 if told[-1] == "adam" else 0.5)

    monkeypatch.setattr(sweep_run, "_seconds", seconds)
    both = {name: resolve(name) for name in ("adam", "sgd")}
    problem = PROBLEMS["logistic_regression"](features=2, batch_size=2, samples=8)
    milliseconds = sweep_run.step_milliseconds(problem, both, 8, False, lambda share: None)
    assert told == ["adam", "sgd"] * (1 + sweep_run.ROUNDS)
    # The calls number 3, 5, ..., 15 are Adam's, and 4, 6, ..., 16 the other's.
    assert milliseconds == {"adam": 1000 * 9.0, "sgd": 1000 * 10 * 0.5}


class EndedAt(Stages):
    """Ends when a stage of a problem begins."""

    def __init__(self, text):
        super().__init__(quiet=True)
        self._text = text

    def stage(self, text, work=0.0):
        if self._text in text:
            raise Stopped
        return super().stage(text, work)


def test_a_sweep_that_ended_is_kept_when_the_next_is_killed(tmp_path):
    entries = [
        {"over": "horizon", "problem": "quadratic(dimension=2)", "values": [1]},
        {"over": "option", "option": "dimension", "problem": "quadratic", "values": [2, 3]},
    ]
    with pytest.raises(Stopped):
        run(tmp_path, entries, EndedAt("dimension=3"), optimizers=["sgd"])
    assert {row["sweep"] for row in rows_of(tmp_path)} == {"horizon-quadratic"}
    [table] = read_tables(tmp_path)
    assert table.values == [1] and len(table.lines[0].measured["final_train_loss"][0]) == 2


def test_finished_runs_are_not_made_again(tmp_path):
    entries = [
        {"over": "horizon", "problem": "quadratic(dimension=2)", "values": [1, 2]},
        {"over": "learning_rate", "problem": "quadratic(dimension=2)", "values": [0.01, 0.1]},
    ]
    made, tables = [], []
    for _ in range(2):
        store = RunStore(tmp_path / "store")
        run(tmp_path, entries, optimizers=["learned_rate:untrained"], baselines=["sgd:global:2"], store=store)
        made.append(store.made)
        tables.append((tmp_path / "sweeps.csv").read_bytes())
    assert made[0] > 0 and made[1] == 0 and tables[0] == tables[1]


def test_the_runs_of_sweeps_by_hand(artifacts):
    entries = [
        {"over": "horizon", "problem": TINY, "values": [1, 2]},
        {"over": "learning_rate", "problem": TINY, "values": [0.1, 1, 10]},
        {"over": "step_time", "problem": TINY},
        {"over": "training_problems", "problem": TINY, "checkpoints": artifacts, "seeds": 3, "baselines": []},
    ]
    sweeps = planned(*entries, optimizers=["learned_rate:untrained"], baselines=["adam", "sgd:defaults"])
    costs = [
        (sum(cell.tuning_runs for cell in one.cells), sum(cell.reporting_runs for cell in one.cells), one.steps) for one in sweeps
    ]
    # adam tries 3 rates on 1 tuning seed; 3 optimizers report 2 seeds; of 8 and of 16 steps.
    assert costs[0] == (3 * 2, 3 * 2 * 2, (3 + 6) * 8 + (3 + 6) * 16)
    assert costs[1] == (0, 2 * 3 * 2 + 2, (2 * 3 * 2 + 2) * 8)
    assert sweeps[2].steps == 0 and sweeps[2].line.endswith("times of single steps")
    assert costs[3] == (0, 3 * (1 + 2), 3 * (1 + 2) * 8)
