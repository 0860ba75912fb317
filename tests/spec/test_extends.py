"""Specs that extend others, and the ablations that l2o ships."""

import pytest

from l2o_cli.assets import configs, find_config
from l2o_cli.errors import BadInput
from l2o_cli.spec.reading import read_meta_training
from l2o_cli.spec.text import read_yaml

# What each ablation changes: the field of the resolved spec, and its value there.
CHANGES = {
    "attention": ("attention", True),
    "momentum_time_scales": ("time_scales", 1),
    "dynamic_scaling": ("dynamic_scaling", False),
    "relative_rate": ("relative_rate", "off"),
    "learned_initial_state": ("learned_initial_state", False),
    "global_level": ("hidden", [10, 20]),
    "tensor_level": ("hidden", [10]),
    "gradient_shortcut": ("gradient_shortcut", False),
    "normalized_direction": ("normalize_direction", False),
    "raw_second_moment": ("scale_by_raw_moment", True),
    "rate_momentum": ("rate_momentum", False),
}


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_mappings_are_merged_and_all_else_is_replaced(write):
    write("lowest.yaml", "a: {x: 1, y: {p: 1, q: 2}}\nlist: [1, 2, 3]\nkind: {name: one}\nkept: 5\n")
    write("between.yaml", "extends: lowest.yaml\na: {y: {q: 3}}\nkind: two\n")
    top = write("folder/top.yaml", "extends: ../between.yaml\nlist: [4]\na: {y: {r: 1e-3}, z: null}\nmore: {m: 1}\n")
    assert read_yaml(top, ["a.x=7"]) == {
        "a": {"x": 7, "y": {"p": 1, "q": 3, "r": 1e-3}, "z": None},
        "list": [4],
        "kind": "two",
        "kept": 5,
        "more": {"m": 1},
    }


def test_a_spec_that_l2o_ships_is_extended_by_its_name(write):
    spec = read_meta_training(write("mine.yaml", "extends: quick\nseed: 3\noptimizer: {options: {attention: true}}\n"))
    shipped = read_meta_training(configs() / "quick.yaml")
    changed = {**shipped.optimizer.options, "attention": True}
    assert spec == shipped.model_copy(update={"seed": 3, "optimizer": shipped.optimizer.model_copy(update={"options": changed})})


def test_a_file_beside_the_spec_goes_before_a_shipped_one(write):
    write("quick", "seed: 9\n")
    assert read_yaml(write("mine.yaml", "extends: quick\n")) == {"seed": 9}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("extends: nowhere.yaml", "top.yaml: extends: nowhere.yaml: no such file beside it, nor a spec that l2o ships"),
        ("extends: [a, b]", r"top.yaml: extends: expected a file or the name of a spec, found \['a', 'b'\]"),
        ("extends: top.yaml", "top.yaml: extends: goes round in a circle: .*top.yaml -> .*top.yaml$"),
        ("extends: first.yaml", "second.yaml: extends: .* circle: .*top.yaml -> .*first.yaml -> .*second.yaml -> .*first.yaml$"),
        ("extends: broken.yaml", "broken.yaml, line 2: not YAML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write, text, complaint):
    write("first.yaml", "extends: second.yaml\n")
    write("second.yaml", "extends: first.yaml\n")
    write("broken.yaml", "a: [\n")
    with pytest.raises(BadInput, match=complaint) as error:
        read_yaml(write("top.yaml", text))
    assert "\n" not in str(error.value)


def test_every_ablation_changes_what_its_name_says_and_nothing_else():
    folder = configs() / "ablations"
    base = read_meta_training(folder / "base.yaml").model_dump(mode="json")
    options = read_meta_training(folder / "base.yaml").optimizer.make()
    found = {path.stem for path in folder.glob("*.yaml")}
    assert found == {"base", "log_objective", *CHANGES}
    for name, (field, value) in CHANGES.items():
        spec = read_meta_training(folder / f"{name}.yaml")
        made = spec.optimizer.make()
        assert getattr(made, field) != getattr(options, field), name
        changed = base | {"optimizer": base["optimizer"] | {"options": base["optimizer"]["options"] | {field: value}}}
        assert spec.model_dump(mode="json") == changed, name
    without_log = read_meta_training(folder / "log_objective.yaml").model_dump(mode="json")
    [term] = base["objective"]["terms"]
    assert term["scale"] == "log" and base["validation"]["objective"]["terms"] == [term]
    assert without_log == base | {"objective": base["objective"] | {"terms": [term | {"scale": "ratio"}]}}


def test_ablations_are_found_by_name():
    assert find_config("ablations/attention") == configs() / "ablations" / "attention.yaml"
    with pytest.raises(BadInput, match=r"hrnn, quick, .*ablations/"):
        find_config("ablations/attentoin")
