"""What is too large for the machine is refused before anything is allocated, by the name of its field."""

from __future__ import annotations

import time

import pytest

from l2o_cli.assets import configs
from l2o_cli.comparison.tuning.tiers import parse_tier
from l2o_cli.errors import LONGEST_LINE, BadInput
from l2o_cli.optimizers import HierarchicalRNN
from l2o_cli.optimizers.elementwise import Adam
from l2o_cli.spec import ComparisonSpec, EvaluationSpec, MetaTraining, resources
from l2o_cli.spec.building import make_optimizer
from l2o_cli.spec.names import make_problem
from l2o_cli.spec.reading import read_meta_training, read_request
from l2o_cli.spec.resources import cost_of, machine_memory, parameters_of, state_size

MEMORY = 8e9
SPEC = "optimizer: {name: hrnn}\nproblems:\n  - "


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    monkeypatch.setattr(resources, "machine_memory", lambda: MEMORY)
    cost_of.cache_clear()
    yield
    cost_of.cache_clear()


@pytest.fixture
def refused(tmp_path):
    def refused(text, field, read=read_meta_training):
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        began = time.process_time()
        with pytest.raises(BadInput) as error:
            read(path)
        assert time.process_time() - began < 5
        message = str(error.value)
        assert message.startswith(f"{path}: ") and field in message and len(message) <= LONGEST_LINE, message

    return refused


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ("{name: quadratic, options: {dimension: 1e12}}", "problems.0.options.dimension: 1e+12 is too large: about "),
        ("{name: quadratic, options: {dimension: 100000}}", "problems.0.options.dimension: 100000 is too large: about "),
        ("{name: mnist_mlp, options: {hidden: [100000, 100000]}}", "problems.0.options.hidden: 100000 is too large"),
        ("{name: cluster_mlp, options: {samples: 1e9}}", "problems.0.options.samples: 1000000000 is too large"),
        ("{name: logistic_regression, options: {samples: 1e18}}", "problems.0.options.samples: 1e+18 is too large"),
        ("{name: cluster_mlp, options: {classes: 1e9}}", "problems.0.options.classes: 1000000000 is too large"),
        ("{name: mnist_conv, options: {batch_size: 1e12}}", "problems.0.options.batch_size: 1e+12 is too large"),
        ("{name: char_rnn, options: {hidden: 1e6}}", "problems.0.options.hidden: 1000000 is too large"),
        ("{name: transformer, options: {layers: 1e9}}", "layers must be at most 256"),
        ("{name: mnist_resnet, options: {blocks: 1e9}}", "blocks must be at most 256"),
        ("{name: matrix_multiplication, options: {size: 1e6, products: 1e12}}", "size must be at most 16"),
        ("{name: quadratic, instances: 1e9}", "problems.0.instances: 1000000000 is too large"),
        ("{name: quadratic, truncation: {maximum: 1e9}}", "problems.0.truncation.maximum: 1000000000 is too large"),
        ("{name: quadratic, draws: 100000000}", "problems.0.draws: "),
        (
            "{name: sum, options: {problems: [{name: sum, options: {problems: [{name: norm, options: {dimension: 1e6}}]}}]}}",
            "problems.0.options.problems.0.options.problems.0.options.dimension: 1000000 is too large",
        ),
        (
            "{name: quadratic, transforms: [{name: rescale}, {name: delayed_gradients, options: {delay: 1e9}}]}",
            "problems.0.transforms.1.options.delay: 1000000000 is too large",
        ),
        ("{name: mnist_mlp, transforms: [{name: random_subspace, options: {dimension: 1e5}}]}", "transforms.0.options.dimension"),
    ],
)
def test_a_problem_that_is_too_large_is_named(refused, entry, field):
    refused(SPEC + entry, field)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("instances: 1e9", "instances: 1000000000 is too large"),
        ("truncation: {maximum: 1e9}", "truncation.maximum: 1000000000 is too large"),
        ("horizon: {maximum: 1e12}", "horizon.maximum: "),
        ("validation: {problems: [quadratic], steps: 1e12}", "validation.steps: 1e+12 is too large"),
        ("validation: {problems: [quadratic], instances: 1e9}", "validation.instances: 1000000000 is too large"),
        ("estimator: {name: es, pairs: 1e9}", "estimator.pairs: "),
        ("objective: {on: fresh, batches: 1e9}", "objective.terms.0.batches: "),
        ("seed: 1e30", "seed: "),
    ],
)
def test_a_section_that_is_too_large_is_named(refused, text, field):
    refused(f"{SPEC}{{name: quadratic}}\n{text}", field)


@pytest.mark.parametrize(
    ("model", "text", "field"),
    [
        (EvaluationSpec, "problems: [quadratic]\nsteps: 1e12", "steps: 1e+12 is too large"),
        (EvaluationSpec, "problems: [quadratic]\nseeds: 1e9", "seeds: 1000000000 is too large"),
        (ComparisonSpec, "problems: ['quadratic(dimension=1e12)']", "problems.0.options.dimension: 1e+12 is too large"),
        (ComparisonSpec, "problems: [quadratic]\ntuning_seeds: 1e12", "tuning_seeds: 1e+12 is too large"),
        (ComparisonSpec, "problems: [quadratic]\ntrials: 1e9", "trials: "),
    ],
)
def test_runs_that_are_too_many_or_too_long_are_named(refused, model, text, field):
    refused(text, field, lambda path: read_request(model, path, {}))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hrnn", {"hidden": [100000]}),
        ("mlp", {"hidden": [100000]}),
        ("lstm", {"units": 100000}),
        ("lstm", {"layers": 10**9}),
        ("lstm_mlp", {"values": 10**9}),
        ("adafactor_mlp", {"momentum_decays": [0.5] * 1000}),
        ("learned_schedule", {"knots": 10**9}),
        ("muon", {"ns_steps": 10**9}),
    ],
)
def test_an_optimizer_that_is_too_large_is_named(name, options):
    with pytest.raises(BadInput, match=next(iter(options))):
        make_optimizer(name, options)


@pytest.mark.parametrize("text", ["random:adam1p:1000000000", "sweep:1000000", "list:99999", f"sweep:{'9' * 5000}"])
def test_a_tier_of_too_many_settings_is_refused(text):
    with pytest.raises(BadInput, match=r"at most|settings"):
        parse_tier(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--problem", "quadratic(dimension=1e12)", "--optimizer", "adam", "--out", "x"],
        ["evaluate", "--problem", "quadratic", "--optimizer", "adam", "--steps", "1000000000000", "--out", "x"],
        ["compare", "--problems", "mnist_mlp(hidden=[100000,100000])", "--out", "x"],
        ["compare", "--problems", "quadratic", "--seeds", "1000000", "--steps", "100000", "--out", "x"],
        ["calibrate", "--problem", "cluster_mlp(samples=1e12)", "--out", "x"],
        ["problems", "quadratic(dimension=1e12)"],
        ["problems", "rosenbrock", "--plot", "x.png", "--steps", "10000000000"],
        ["meta-train", "quick", "--set", "instances=1e9", "--out", "x"],
        ["ablate", "ablations", "--set", "truncation.maximum=1e9", "--out", "x"],
    ],
    ids=" ".join,
)
def test_every_command_says_so_and_writes_nothing(l2o, tmp_path, arguments):
    result = l2o(*arguments)
    assert result.returncode == 2 and " is too large: about " in result.stderr and result.stderr.count("\n") == 1, result.stderr
    assert len(result.stderr) < 300 and not list(tmp_path.iterdir())


def test_what_is_shipped_is_valid_and_fits_in_a_small_machine():
    one_ablation = configs() / "ablations" / "base.yaml"  # the others have its problems
    others = [path for path in configs().glob("*.yaml") if path.stem not in ("robustness", "scale", "transfer")]
    meta_training = [one_ablation, *others]
    assert {"quick", "hrnn", "base"} <= {path.stem for path in meta_training}
    for path in meta_training:
        assert isinstance(read_meta_training(path), MetaTraining)


def test_what_a_step_has_no_more_use_for_is_not_counted():
    large = {"layers": 1, "width": 384, "heads": 6, "length": 256, "batch_size": 128}
    resources.check_runs([resources.Runs(make_problem("transformer", large), "", 2, 100, 2)])


def test_what_is_counted():
    quadratic, text = make_problem("quadratic", {"dimension": 5000}), make_problem("mnist_mlp")
    assert parameters_of(text) == 784 * 64 + 64 + 64 * 10 + 10
    cost = cost_of(quadratic, 16)  # looked at closely: the matrix counts, in bytes
    assert cost.parameters == 5000 and 4 * 5000**2 <= cost.task < 1.01 * 4 * 5000**2 and cost.step >= cost.task
    assert state_size(Adam()) == 2.0 and 19 < state_size(HierarchicalRNN()) < 22
    assert 1e8 < machine_memory() < 1e14


@pytest.mark.parametrize(
    ("config", "message"),
    [("folder", "folder: a folder, where a spec is expected"), ("x" * 5000, "no such file"), ("nowhere", "no such file")],
)
def test_what_is_no_file_is_one_short_line(l2o, tmp_path, config, message):
    (tmp_path / "folder").mkdir()
    result = l2o("meta-train", config, "--out", "x")
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and len(result.stderr) < 300
    assert message in result.stderr or "ablations/tensor_level" in result.stderr
