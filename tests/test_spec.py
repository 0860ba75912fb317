import pytest

from l2o_cli.assets import configs
from l2o_cli.errors import BadInput
from l2o_cli.spec import MetaTraining, make_optimizer, make_problem, read_meta_training, to_yaml

MINIMAL = """
optimizer: {name: hrnn, options: {hidden: [4, 3]}}
problems:
  - {name: quadratic, options: {dimension: 3}}
meta_optimizer: {learning_rate: 1e-3}
"""


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


@pytest.mark.parametrize("path", sorted(configs().glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_specs_are_valid(path):
    assert isinstance(read_meta_training(path), MetaTraining)


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
        ("optimizer: [", "line 1: not YAML"),
        ("just text", "expected fields at the top level"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_file_and_field(write, text, complaint):
    path = write(text)
    with pytest.raises(BadInput, match=complaint) as error:
        read_meta_training(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


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
