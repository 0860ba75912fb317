"""What is no number, not finite or out of range is refused, wherever it is written."""

from __future__ import annotations

import pytest

from l2o_cli.comparison.cell import make_problems
from l2o_cli.errors import BadInput
from l2o_cli.export.resolve import resolve
from l2o_cli.optimizers import OPTIMIZERS
from l2o_cli.optimizers.options import Range, float_options, hints_of
from l2o_cli.optimizers.search_spaces import SPACES, nadamw_list, sample
from l2o_cli.optimizers.transforms import TRANSFORMS, check_hyperparameter
from l2o_cli.spec import EvaluationSpec
from l2o_cli.spec.building import make_optimizer
from l2o_cli.spec.reading import read_meta_training, read_request

SPEC = "optimizer: {name: hrnn}\nproblems: [{name: quadratic}]\n"
NOT_FINITE = (".inf", "-.inf", ".nan")


def complaint(tmp_path, text, read=read_meta_training):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as error:
        read(path)
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("value", ["true", "'3'", "on", *NOT_FINITE, "1e300", "[1]"])
@pytest.mark.parametrize(
    ("section", "field"),
    [
        ("ema: VALUE", "ema: "),
        ("objective: {weight: VALUE}", "objective.terms.0.weight: "),
        ("objective: [{epsilon: VALUE}]", "objective.terms.0.epsilon: "),
        ("meta_optimizer: {learning_rate: VALUE}", "meta_optimizer.learning_rate: "),
        ("meta_optimizer: {epsilon: VALUE}", "meta_optimizer.epsilon: "),
        ("meta_optimizer: {name: keras.Lamb, options: {epsilon: VALUE}}", "meta_optimizer.options.epsilon: "),
        ("estimator: {sigma: VALUE}", "estimator.sigma: "),
        ("truncation: {scale: VALUE}", "truncation.scale: "),
        ("validation: {problems: [{name: ackley, weight: VALUE}]}", "validation.problems.0.weight: "),
        ("meta_optimizer: {schedule: {kind: piecewise, factors: [VALUE]}}", "meta_optimizer.schedule.factors.0: "),
    ],
)
def test_numbers_of_specs(tmp_path, section, field, value):
    if value == "1e300" and "keras" in section:
        value = "-1"
    assert complaint(tmp_path, SPEC + section.replace("VALUE", value)).startswith(field)


@pytest.mark.parametrize("value", ["1", "yes", "'true'"])
def test_booleans_are_true_or_false(tmp_path, value):
    said = f"expected true or false (got {value if value != 'yes' else repr(value)})"
    assert complaint(tmp_path, f"{SPEC}estimator: {{shared: {value}}}") == f"estimator.shared: {said}"


@pytest.mark.parametrize("value", NOT_FINITE)
def test_hyperparameters_of_an_evaluation(tmp_path, value):
    def read(path):
        read_request(EvaluationSpec, path, {})

    assert complaint(tmp_path, f"problems: [ackley]\nsettings: {{learning_rate: {value}}}", read).startswith(
        "settings.learning_rate"
    )


def settings_of(cls):
    """(option, its range) of all options with one."""
    for option, hint in hints_of(cls).items():
        for bounds in getattr(hint, "__metadata__", ()):
            if isinstance(bounds, Range):
                yield option, bounds


RULES = [(name, cls) for name, cls in OPTIMIZERS.items()] + [(name, cls) for name, cls in TRANSFORMS.items()]


@pytest.mark.parametrize(("name", "cls"), RULES, ids=[name for name, _ in RULES])
def test_every_number_of_an_optimizer_has_a_range(name, cls):
    def make(options):
        if name in OPTIMIZERS:
            return make_optimizer(name, options)
        given = {"value": 1.0} if name == "clipping" else {}
        return make_optimizer("hrnn" if name == "nominal" else "adam", {}, [{"name": name, "options": given | options}])

    ranges = dict(settings_of(cls))
    assert set(float_options(cls)) <= ranges.keys()
    for option, bounds in ranges.items():
        outside = [value for value in (bounds.least - 1, bounds.most + 1) if abs(value) < 1e30]
        outside += [end for end, left_out in ((bounds.least, bounds.above), (bounds.most, bounds.below)) if left_out]
        for value in [*outside, True, "3", float("inf"), float("nan"), 1e300]:
            with pytest.raises(BadInput, match=option) as error:
                make({option: value})
            assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("adam(beta_1=2)", "optimizer 'adam': options: beta_1 must be less than 1, not 2"),
        ("adam(beta_1=-0.1)", "beta_1 must be at least 0, not -0.1"),
        ("adam(epsilon=.inf)", "options.epsilon: .*number"),
        ("sgd(learning_rate=-1)", "learning_rate must be at least 0"),
        ("momentum(momentum=1)", "momentum must be less than 1"),
        ("adam+weight_decay(rate=true)", "transformation 'weight_decay': options.rate: expected a number"),
        ("adafactor(beta_2_decay=0.8)", "beta_2_decay must be at most 0"),
    ],
)
def test_texts_of_optimizers(text, fault):
    with pytest.raises(BadInput, match=fault):
        resolve(text)


@pytest.mark.parametrize("setting", ["beta_1=2", "learning_rate=-1", "epsilon=inf"])
def test_settings_of_a_command(l2o, tmp_path, setting):
    result = l2o("evaluate", "--problem", "ackley", "--optimizer", "adam", "--set", setting, "--out", "x")
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and setting.partition("=")[0] in result.stderr
    assert not list(tmp_path.iterdir())


def test_settings_of_transformations_have_ranges_too():
    optimizer = resolve("adam+clipping(norm=1)").optimizer
    check_hyperparameter(optimizer, "clipping/norm", 0.5)
    with pytest.raises(ValueError, match="norm must be more than 0"):
        check_hyperparameter(optimizer, "clipping/norm", 0.0)


def test_what_search_spaces_draw_is_in_range():
    for name, space in SPACES.items():
        settings = [*sample(name, 0, 200), *(nadamw_list() if name == "nadamw" else [])]
        for setting in settings:
            for option, value in setting.items():
                check_hyperparameter(space.optimizer, option, value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("norm(power=true)", "options.power: expected a number"),
        ("norm(power='3')", "options.power: expected a number"),
        ("norm(power=.inf)", "options.power: "),
        ("norm(power=1e300)", "options.power: "),
        ("random_mlp(hidden=[true])", "options.hidden.0: expected an integer"),
        ("ackley+sparse_gradients(probability=1.5)", "probability must be at most 1"),
        ("logistic_regression(label_noise=2)", "label_noise must be"),
        ("ackley+gradient_noise(deviation=.nan)", "deviation"),
    ],
)
def test_options_of_problems(text, fault):
    with pytest.raises(BadInput, match=fault):
        make_problems([text])


@pytest.mark.parametrize(
    ("drawn", "fault"),
    [
        ("{uniform: [5, 1]}", "the first end, 5, is greater than the second, 1"),
        ("{uniform: [1, .inf]}", "expected two numbers"),
        ("{uniform: [true, 2]}", "expected two numbers"),
        ("{uniform: ['1', '2']}", "expected two numbers"),
        ("{log_uniform: [0, 1]}", "expected numbers above 0"),
        ("{integer: [1.5, 3]}", "expected whole numbers"),
        ("{integer: [1, 1e300]}", "expected whole numbers"),
        ("{choice: abc}", "expected a list of values"),
        ("{choice: []}", "expected a list of values"),
    ],
)
def test_ends_of_distributions(tmp_path, drawn, fault):
    said = complaint(tmp_path, f"optimizer: {{name: hrnn}}\nproblems: [{{name: norm, options: {{power: {drawn}}}}}]")
    assert said.startswith("problems.0: {") and fault in said


def test_a_seed_with_an_exponent_is_that_of_the_draws(tmp_path):
    path = tmp_path / "spec.yaml"
    drawn = []
    for seed in ("1e3", "1000", "0"):
        path.write_text(
            f"seed: {seed}\noptimizer: {{name: hrnn}}\nproblems: [{{name: norm, options: {{power: {{uniform: [1, 3]}}}}}}]"
        )
        drawn.append(read_meta_training(path).problems)
    assert drawn[0] == drawn[1] != drawn[2]
