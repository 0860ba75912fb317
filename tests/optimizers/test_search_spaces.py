"""Search spaces: ranges, determinism, and settings of all kinds in one compiled run."""

import numpy as np
import pytest

from l2o_cli.export.artifact import LoadedOptimizer
from l2o_cli.export.resolve import resolve
from l2o_cli.optimizers.search_spaces import NADAMW_LIST, SPACES, nadamw_list, sample
from l2o_cli.runs.update_rules import RuleBatches
from l2o_cli.spec.building import make_optimizer
from l2o_cli.spec.names import make_problem

# (name, least, greatest) of what is log-uniform; 1 - beta where the name begins with 1 -.
RANGES = {
    "adam1p": [("learning_rate", 1e-8, 10)],
    "adam4p": [("1 - beta_1", 1e-4, 1), ("1 - beta_2", 1e-6, 1), ("epsilon", 1e-10, 1e3)],
    "adam6p": [("decay/linear", 1e-7, 1e-4), ("decay/exponential", 1e-6, 1e-3)],
    "adam8p": [("regularization/l1", 1e-8, 10), ("regularization/l2", 1e-8, 10)],
    "nadamw": [
        ("learning_rate", 1e-5, 1),
        ("1 - beta_1", 1e-3, 1),
        ("1 - beta_2", 1e-5, 1),
        ("epsilon", 1e-8, 1e4),
        ("weight_decay", 1e-5, 1e-1),
        ("regularization/l2", 5e-6, 5e-2),
        ("schedule/warmup", 1e-5, 1e-1),
        ("schedule/final", 1e-5, 1),
    ],
}


@pytest.mark.parametrize("space, name, low, high", [(space, *line) for space, lines in RANGES.items() for line in lines])
def test_ranges(space, name, low, high):
    """All of the range is drawn from, evenly in the logarithm; zeros, which switch something off, aside."""
    values = np.array([setting[name.removeprefix("1 - ")] for setting in sample(space, 0, 2000)])
    values = 1 - values if name.startswith("1 - ") else values[values > 0]
    shares = np.log(values / low) / np.log(high / low)
    assert shares.min() > -1e-6 and shares.max() < 1 + 1e-6
    # Warm-ups are cut where the decay begins, which makes a few of them shorter.
    counts = np.histogram(shares, bins=4, range=(0, 1))[0] / len(shares)
    np.testing.assert_allclose(counts, 0.25, atol=0.06)


@pytest.mark.parametrize("smaller, larger, more", [("adam1p", "adam4p", 3), ("adam4p", "adam6p", 2), ("adam6p", "adam8p", 2)])
def test_adams_are_nested(smaller, larger, more):
    [few], [many] = sample(smaller, 0, 1), sample(larger, 0, 1)
    assert set(few) < set(many) and len(many) == len(few) + more


def test_choices_of_nadamw_are_numbers():
    settings = sample("nadamw", 0, 3000)
    kinds = [(setting["weight_decay"] > 0, setting["regularization/l2"] > 0) for setting in settings]
    for kind in ((True, False), (False, True), (True, True)):
        assert kinds.count(kind) == pytest.approx(1000, abs=120)
    for name in ("nesterov", "schedule/warmup", "schedule/final"):
        assert [setting[name] for setting in settings].count(0.0) == pytest.approx(1500, abs=150)
    for setting in settings:
        assert setting["schedule/constant"] >= 0 and setting["schedule/warmup"] + setting["schedule/constant"] <= 1


@pytest.mark.parametrize("space", SPACES)
def test_samples_are_a_function_of_the_seed(space):
    whole = sample(space, 3, 8)
    assert whole == sample(space, 3, 8) and whole[:3] == sample(space, 3, 3) and whole != sample(space, 4, 8)
    assert set(whole[0]) <= set(SPACES[space].optimizer.init_weights(0)) and SPACES[space].summary


def test_decays_are_those_of_runs_of_a_length():
    [long], [short] = sample("adam8p", 0, 1), sample("adam8p", 0, 1, steps=1000)
    for name, value in long.items():
        assert short[name] == pytest.approx(value * (10 if name.startswith("decay/") else 1))


@pytest.mark.parametrize("space", SPACES)
def test_the_text_names_the_optimizer(space):
    assert resolve(SPACES[space].text).optimizer == SPACES[space].optimizer


@pytest.mark.parametrize("space", ["adam8p", "nadamw"])
def test_a_hundred_settings_run_together(space):
    settings = [*sample(space, 0, 99, steps=30), {**sample(space, 1, 1)[0], "learning_rate": 1e35, "epsilon": 1e-8}]
    settings[-1] |= {name: 0.0 for name in ("schedule/warmup",) if name in settings[-1]}
    trials = RuleBatches("quadratic", make_problem("quadratic"), resolve(SPACES[space].text), steps=30, every=10)
    runs = trials.run(settings, [0])
    assert len(trials._rollout._run._traces) == 1
    assert [run.trial for run in runs] == list(range(100)) and runs[-1].diverged_at is not None
    running = [run for run in runs if run.diverged_at is None]
    assert len(running) > 50 and all(np.isfinite(run.losses).all() for run in running)
    assert len({float(run.losses[-1]) for run in running}) > 50
    # One of them as an optimizer with these options of its own.
    own, parts = {}, {}
    for name, value in settings[5].items():
        part, _, option = name.rpartition("/")
        (parts.setdefault(part, {}) if part else own)[option] = value
    names = SPACES[space].text.split("+")
    optimizer = make_optimizer(names[0], own, [{"name": name, "options": parts[name]} for name in names[1:]])
    weights = optimizer.init_weights(0)
    alone = LoadedOptimizer("alone", optimizer, weights, None, "here")
    [run] = RuleBatches("quadratic", make_problem("quadratic"), alone, steps=30, xla=False).run([{}], [0])
    np.testing.assert_allclose(run.losses, runs[5].losses, rtol=2e-3)


def test_the_list_of_nadamw():
    settings = nadamw_list()
    known = SPACES["nadamw"].optimizer.init_weights(0)
    assert len(settings) == 10 and all(set(setting) <= set(known) for setting in settings)
    assert len({setting["learning_rate"] for setting in settings}) == 10
    assert NADAMW_LIST.read_text().startswith("# ")
