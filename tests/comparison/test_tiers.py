"""How tiers of tuning are named, what is wrong with a name, and the plan of a comparison."""

from __future__ import annotations

import pytest

from l2o_cli.comparison.cell import Terms, cells_of
from l2o_cli.comparison.plan import make_plan, plan_lines
from l2o_cli.comparison.tuning.tiers import Baseline, Tier, parse_baselines, parse_tier
from l2o_cli.errors import BadInput
from l2o_cli.export.resolve import resolve
from l2o_cli.spec import ComparisonSpec
from l2o_cli.spec.names import make_problem
from l2o_cli.spec.reading import read_request


@pytest.mark.parametrize(
    "text, tier",
    [
        ("defaults", Tier("defaults")),
        ("sweep", Tier()),
        ("sweep:7", Tier(count=7)),
        ("global", Tier(shared=True)),
        ("global:9", Tier(count=9, shared=True)),
        ("random:adam4p:100", Tier("random", 100, "adam4p")),
        ("global:random:nadamw:3", Tier("random", 3, "nadamw", shared=True)),
        ("list", Tier("list")),
        ("list:4", Tier("list", 4)),
        ("global:list", Tier("list", shared=True)),
    ],
)
def test_names_of_tiers(text, tier):
    assert parse_tier(text) == tier and tier.text == text


def test_global_sweep_is_global():
    assert parse_tier("global:sweep:5") == parse_tier("global:5")


def test_an_optimizer_of_ones_own_is_searched_in_a_space_that_it_has():
    texts = ["nadamw+regularization+schedule(kind=linear)+clipping(norm=1):list:3", "hrnn:untrained:defaults"]
    listed, untrained = parse_baselines(texts, ["sweep"])
    assert (listed.tier.text, untrained.tier.text) == ("list:3", "defaults")
    assert (listed.contender.label, untrained.contender.label) == (texts[0].removesuffix(":list:3"), "hrnn:untrained")


@pytest.mark.parametrize(
    "baseline, message",
    [
        ("adam:sweeep", r"--baselines 'adam:sweeep': unknown tier 'sweeep'; did you mean 'sweep'\?"),
        ("adam:random:adam9p:5", "--baselines .*: unknown search space 'adam9p'; did you mean 'adam8p'"),
        ("random:adam4p", "--baselines 'random:adam4p': tier 'random:adam4p': expected random:SPACE:N"),
        ("random:adam4p:0", "expected random:SPACE:N"),
        ("random:adam4p:x", "expected random:SPACE:N"),
        ("adam:sweep:-1", "expected sweep or sweep:N"),
        ("adam:defaults:2", "tier 'defaults:2': expected defaults"),
        ("adam:global:defaults", "the same for all problems anyway"),
        ("list:11", "the list has 10 settings"),
        ("global", "--baselines 'global': of which optimizer"),
        ("adm", "--baselines 'adm': unknown optimizer 'adm'; did you mean 'adam'"),
        ("adm:sweep", "unknown optimizer 'adm'"),
        ("sgd:list", "--baselines: 'sgd' has no hyperparameter 'beta_1', which list sets"),
        ("lbfgs", "--baselines: 'lbfgs' has no learning_rate to tune; .* or as lbfgs:defaults"),
        ("lbfgs:global", "'lbfgs' has no learning_rate to tune"),
        ("lbfgs:random:adam1p:2", "'lbfgs' has no hyperparameter 'learning_rate'"),
        ("lbfgs:defaults", "--baselines: optimizer 'lbfgs' needs problems without minibatches and noise"),
        ("adam,adam:sweep", "'adam' is given twice"),
        ("sgd,sgd:defaults", "--optimizer and --baselines both mean 'sgd \\(defaults\\)'"),
    ],
)
def test_bad_baselines_are_told_in_a_line(baseline, message):
    fields = {"problems": ["digits_mlp"], "optimizers": ["sgd"], "baselines": baseline.split(","), "steps": 9, "seeds": 1}
    spec = read_request(ComparisonSpec, None, fields)
    with pytest.raises(BadInput, match=message) as raised:
        make_plan(spec)
    assert "\n" not in str(raised.value)


def test_a_bad_tier_of_the_option_is_told():
    with pytest.raises(BadInput, match="--tuning 'al': unknown tier 'al'"):
        parse_baselines(["adam"], ["al"])


def test_plan_of_one_problem():
    baselines = {"adam": Baseline(resolve("adam")), "nadamw": Baseline(resolve("nadamw"), Tier("list", 1))}
    cells = cells_of({"booth": make_problem("booth")}, {"hrnn": resolve("hrnn")}, baselines, Terms(1000, seeds=5, tuning_seeds=2))
    assert plan_lines(cells) == [
        "plan: 1 problem, runs of 1,000 steps",
        "  hrnn: 5 runs to report",
        "  adam: 15 settings on each problem in 30 runs, then 5 runs to report",
        "  nadamw: 1 setting on each problem in 2 runs, then 5 runs to report",
        "  in all 47 runs, 47,000 steps; more where the best rate is at an edge",
    ]
