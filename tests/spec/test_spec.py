import pytest

from l2o_cli.assets import configs
from l2o_cli.errors import BadInput
from l2o_cli.spec import ComparisonSpec, to_yaml
from l2o_cli.spec.building import make_optimizer
from l2o_cli.spec.names import make_problem
from l2o_cli.spec.reading import read_meta_training, read_request

COMPARISONS = ["robustness", "scale", "transfer"]  # of the specs that l2o ships

MINIMAL = """
optimizer: {name: hrnn, options: {hidden: [4, 3]}}
problems:
  - {name: quadratic, options: {dimension: 3}}
meta_optimizer: {learning_rate: 1e-3}
"""
BARE = MINIMAL.replace("meta_optimizer: {learning_rate: 1e-3}\n", "")


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return path

    return write


def test_defaults_overrides_and_exponents(write):
    spec = read_meta_training(
        write(MINIMAL),
        ["seed=7", "optimizer.options.attention=true", "problems.0.options.dimension=5", "meta_optimizer.learning_rate=2e-2"],
    )
    assert spec.seed == 7 and spec.meta_optimizer.learning_rate == 0.02
    assert spec.optimizer.make().attention and spec.optimizer.make().hidden == (4, 3)
    assert spec.problems[0].make().dimension == 5


def test_a_resolved_spec_reads_back_the_same(write):
    spec = read_meta_training(write(MINIMAL))
    assert read_meta_training(write(to_yaml(spec))) == spec


@pytest.mark.parametrize("name", COMPARISONS)
def test_shipped_comparisons_are_valid(name):
    assert isinstance(read_request(ComparisonSpec, configs() / f"{name}.yaml", {}), ComparisonSpec)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (MINIMAL + "meta_step: 5", "meta_step: unknown field"),
        (MINIMAL + "meta_steps: many", "meta_steps: .*integer.*'many'"),
        (MINIMAL + "meta_steps: 0", "meta_steps: .*greater than 0"),
        (MINIMAL + "truncation: {minimum: 9, maximum: 3}", "truncation: .*minimum 9 is greater than maximum 3"),
        (MINIMAL.replace("quadratic", "quadratik"), "problems.0: unknown problem 'quadratik'; did you mean 'quadratic'"),
        (MINIMAL.replace("hrnn", "hrn"), "unknown optimizer 'hrn'; did you mean 'hrnn'"),
        (
            MINIMAL.replace("name: hrnn, options: {hidden: [4, 3]}", "name: adam"),
            "optimizer.name: 'adam' has nothing to meta-train",
        ),
        (MINIMAL.replace("hidden:", "hiden:"), "optimizer 'hrnn': options.hiden: unknown field"),
        (MINIMAL.replace("[4, 3]", "[4, 3, 2, 1]"), "hidden must be one to three"),
        (MINIMAL.replace("dimension: 3", "dimension: -3"), "problems.0: problem 'quadratic': options: dimension"),
        (MINIMAL.replace("dimension: 3}", "dimension: 3}, transforms: [{name: rescal}]"), "unknown transformation 'rescal'"),
        (
            MINIMAL.replace("dimension: 3}", "dimension: 3}, transforms: [{name: rescale, options: {lo: 1}}]"),
            "problems.0: .*rescale.*lo",
        ),
        (
            BARE + "meta_optimizer: {name: keras.Lyon}",
            "meta_optimizer.name: unknown .*; did you mean 'keras.Lion'",
        ),
        (BARE + "meta_optimizer: {name: keras.Lion, options: {beta_3: 1}}", "meta_optimizer.options.beta_3: unknown field"),
        (BARE + "meta_optimizer: {name: keras.Lion, options: {beta_1: x}}", "options.beta_1: expected a number .*'x'"),
        (
            BARE + "meta_optimizer: {name: keras.SGD, options: {momentum: 2}}",
            "meta_optimizer.options: .*momentum.* between",
        ),
        (BARE + "meta_optimizer: {options: {beta_1: 0.5}}", "meta_optimizer.options: only for .*Keras.*, not for adam"),
        (BARE + "meta_optimizer: {name: learned}", "meta_optimizer.checkpoint: missing"),
        (BARE + "meta_optimizer: {checkpoint: hrnn}", "meta_optimizer.checkpoint: only for learned, not for adam"),
        (
            BARE + "meta_optimizer: {stages: [{}, {meta_step: 9, frozen: [reedout]}]}",
            "meta_optimizer.stages.1.frozen: no weight is 'reedout'; there are: .*readout",
        ),
        (BARE + "meta_optimizer: {stages: [{frozen: ['*']}]}", "meta_optimizer.stages.0: no weight moves"),
        (
            BARE + "meta_optimizer: {stages: [{}, {meta_step: 0}]}",
            "meta_optimizer.stages.1.meta_step: 0 is not after 0",
        ),
        (
            BARE + "meta_optimizer: {schedule: {kind: piecewise, boundaries: [5], factors: [1]}}",
            "meta_optimizer.schedule.factors: 1 boundaries need one more factor, not 1",
        ),
        (
            BARE + "meta_optimizer: {schedule: {kind: piecewise, boundaries: [5, 5], factors: [1, 1, 1]}}",
            "meta_optimizer.schedule.boundaries: not in ascending order",
        ),
        (BARE + "meta_optimizer: {schedule: {factors: [1]}}", "meta_optimizer.schedule.factors: only for piecewise"),
        (BARE + "meta_optimizer: {schedule: {kind: exponential, final: 0}}", "meta_optimizer.schedule.final: "),
        (
            MINIMAL + "truncation: {growth: {kind: linear, start: 60}}",
            "truncation.growth.start: 60 is greater than maximum 50",
        ),
        (MINIMAL + "truncation: {growth: {kind: stages}}", "truncation.growth.stages: missing"),
        (
            MINIMAL + "truncation: {growth: {kind: stages, stages: [{meta_step: 1, maximum: 9}]}}",
            "truncation.growth.stages.0.meta_step: the first stage begins at 0, not 1",
        ),
        (
            MINIMAL + "truncation: {growth: {kind: stages, stages: [{meta_step: 0, maximum: 90}]}}",
            "truncation.growth.stages.0.maximum: 90 is greater than maximum 50",
        ),
        (MINIMAL.replace("dimension: 3}", "dimension: 3}, horizon: {minimum: 90}"), "problems.0.horizon: minimum 90"),
        ("optimizer: [", "line 1: not YAML"),
        ("just text", "expected fields at the top level"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_file_and_field(write, text, complaint):
    path = write(text)
    with pytest.raises(BadInput, match=complaint) as error:
        read_meta_training(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_the_checkpoint_of_a_learned_meta_optimizer_lies_beside_the_spec_and_has_a_rate_of_its_own(write, tmp_path):
    text = MINIMAL.replace("meta_optimizer: {learning_rate: 1e-3}", "meta_optimizer: {name: learned, checkpoint: CHECKPOINT}")
    named = read_meta_training(write(text.replace("CHECKPOINT", "hrnn"))).meta_optimizer
    assert (named.checkpoint, named.learning_rate) == ("hrnn", 1.0)
    lying = read_meta_training(write(text.replace("CHECKPOINT", "runs/first"))).meta_optimizer
    assert lying.checkpoint == str(tmp_path / "runs/first")
    slower = read_meta_training(write(text.replace("CHECKPOINT", "hrnn, learning_rate: 0.5"))).meta_optimizer
    assert slower.learning_rate == 0.5


def test_lengths_of_a_family_stand_in_for_those_of_the_run(write):
    lengths = "horizon: {distribution: constant, maximum: 7}"
    spec = read_meta_training(
        write(MINIMAL.replace("dimension: 3}}", f"dimension: 3}}, {lengths}}}\n  - {{ensemble: real-data, {lengths}}}"))
    )
    assert len(spec.problems) > 2 and {entry.horizon.maximum for entry in spec.problems} == {7}
    assert {entry.truncation for entry in spec.problems} == {None}
    assert read_meta_training(write(to_yaml(spec))) == spec


def test_missing_file_and_bad_overrides(write, tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_meta_training(tmp_path / "none.yaml")
    for override in ("seed", "=3", "problems.7.name=x", "seed.a=1"):
        with pytest.raises(BadInput, match="--set"):
            read_meta_training(write(MINIMAL + "seed: 3"), [override])


def test_names_and_options_of_optimizers_and_problems():
    assert make_optimizer("adam", {"learning_rate": 0.1}).learning_rate == 0.1
    assert make_problem("quadratic", {"dimension": 2}, [{"name": "rescale", "options": {"per": "tensor"}}]).per == "tensor"
    with pytest.raises(BadInput, match="there are: "):
        make_problem("xyzzy")
