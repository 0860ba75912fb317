"""Damaged artifacts, exported files and models: refused in one line, or what they were; never another optimizer."""

import base64
import json
import re
import zipfile

import keras
import numpy as np
import pytest

from l2o_cli import LearnedOptimizer
from l2o_cli.errors import BadInput, Failure
from l2o_cli.export.artifact import save_artifact
from l2o_cli.export.keras_config import to_config
from l2o_cli.export.keras_optimizer import keras_file
from l2o_cli.export.resolve import resolve
from l2o_cli.optimizers.transforms import Clipping


def flipped(content, rng):
    """One bit."""
    changed = bytearray(content)
    changed[rng.integers(len(changed))] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncated(content, rng):
    return content[: rng.integers(len(content))]


def swapped(content, rng):
    """Two pieces of equal length."""
    length = int(rng.integers(1, min(64, len(content) // 2)))
    first, second = sorted(rng.choice(len(content) - length, 2, replace=False))
    second = max(second, first + length)
    between, rest = content[first + length : second], content[second + length :]
    return content[:first] + content[second : second + length] + between + content[first : first + length] + rest


def renumbered(content, rng):
    """Another digit."""
    digits = [match.start() for match in re.finditer(rb"[0-9]", content)]
    at = int(rng.choice(digits))
    return content[:at] + str((int(content[at : at + 1]) + rng.integers(1, 10)) % 10).encode() + content[at + 1 :]


def relined(content, rng):
    """Two lines swapped, or one left out, or there twice."""
    lines = content.splitlines(keepends=True)
    one, other = rng.integers(len(lines), size=2)
    change = rng.integers(3)
    if change == 0:
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines[one : one + 1] = [] if change == 1 else [lines[one]] * 2
    return b"".join(lines)


DAMAGES = (flipped, truncated, swapped, renumbered, relined)


@pytest.fixture
def original(load):
    loaded = load(sizes=(2, 3))
    return type(loaded)(
        "wrapped", Clipping(loaded.optimizer, norm=0.5), loaded.weights, {"scores": {"mean": 1.5, "rows": [1, 2]}}, "test"
    )


def assert_harmless(path, file, original, seed):
    """After damage number `seed` to `file`, what lies at `path` is refused in one line that names it, or it is `original`."""
    rng = np.random.default_rng(seed)
    whole = file.read_bytes()
    damaged = DAMAGES[seed % len(DAMAGES)](whole, rng)
    file.write_bytes(damaged)
    try:
        found = resolve(str(path))
    except Failure as error:
        assert "\n" not in str(error) and str(path) in str(error), error
        outcome = 0
    else:
        assert found.optimizer == original.optimizer, f"seed {seed}"
        assert found.weights.keys() == original.weights.keys()
        for name, value in original.weights.items():
            assert np.asarray(found.weights[name]).tobytes() == np.asarray(value).tobytes()
        assert found.label == original.label
        outcome = 1
    assert file.read_bytes() == damaged
    file.write_bytes(whole)
    return outcome


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 400), marks=pytest.mark.slow)], ids=["some", "many"])
@pytest.mark.parametrize("file", ["card.yaml", "weights.safetensors"])
def test_artifacts(file, seeds, original, tmp_path):
    path = tmp_path / "wrapped"
    save_artifact(path, original.optimizer, original.weights, original.card)
    outcomes = [assert_harmless(path, path / file, original, seed) for seed in seeds]
    assert sum(outcomes) < len(seeds) / 2


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 400), marks=pytest.mark.slow)], ids=["some", "many"])
def test_exported_files(seeds, original, tmp_path):
    path = tmp_path / "wrapped.json"
    path.write_text(keras_file(original))
    outcomes = [assert_harmless(path, path, original, seed) for seed in seeds]
    assert sum(outcomes) < len(seeds) * 0.8


def other_weights(config):
    content = bytearray(base64.b64decode(config["weights"]))
    content[-1] ^= 1  # the lowest bit of the exponent of the last weight
    config["weights"] = base64.b64encode(content).decode()


CHANGES = {
    "weights": other_weights,
    "options": lambda config: config["options"].update(loss_power=1.0),
    "transformation": lambda config: config["transforms"][0]["options"].update(norm=5.0),
    "transformations": lambda config: config.pop("transforms"),
    "name": lambda config: config.update(name="adam", options={}),
    "label": lambda config: config.update(label="other"),
    "seal": lambda config: config.update(sha256="0" * 64),
    "no seal": lambda config: config.pop("sha256"),
    "no format": lambda config: config.pop("format"),
    "another format": lambda config: config.update(format=3),
    "unknown field": lambda config: config.update(more=1),
    "all": lambda config: config.clear(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_configurations(change, original, tmp_path):
    path = tmp_path / "wrapped.json"
    content = json.loads(keras_file(original))
    CHANGES[change](content["config"]["optimizer"])
    path.write_text(json.dumps(content))
    for read, named in (
        (lambda: resolve(path), str(path)),
        (lambda: keras.optimizers.deserialize(content), "Keras configuration of the optimizer 'learned_optimizer"),
    ):
        with pytest.raises(Failure, match=r"^[^\n]*$") as caught:
            read()
        assert named in str(caught.value) and "optimizer." in str(caught.value)


def test_other_arguments_of_a_configuration_may_be_changed(original):
    config = LearnedOptimizer(original, 0.5).get_config()
    assert float(LearnedOptimizer.from_config({**config, "learning_rate": 0.25}).learning_rate) == 0.25


def test_configurations_of_before_the_seal_are_read(original, tmp_path):
    path = tmp_path / "wrapped.json"
    content = json.loads(keras_file(original))
    for name in ("format", "sha256"):
        del content["config"]["optimizer"][name]
    path.write_text(json.dumps(content))
    assert resolve(path).optimizer == original.optimizer
    for part in ("weights", "options"):
        content["config"]["optimizer"][part] = [5]
        path.write_text(json.dumps(content))
        with pytest.raises(Failure, match=rf"^[^\n]*wrapped.json: [^\n]*optimizer.{part}[^\n]*$"):
            resolve(path)


def test_a_model_with_other_weights_of_its_optimizer_is_refused(original, network, tmp_path):
    model, path = network(), tmp_path / "model.keras"
    model.compile(LearnedOptimizer(original, jit_compile=False), "mse")
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    for change in ("weights", "options", "label"):
        CHANGES[change](changed := json.loads(json.dumps(config["compile_config"]["optimizer"]["config"]["optimizer"])))
        whole = {**config, "compile_config": json.loads(json.dumps(config["compile_config"]))}
        whole["compile_config"]["optimizer"]["config"]["optimizer"] = changed
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in content.items():
                archive.writestr(name, json.dumps(whole) if name == "config.json" else part)
        with pytest.raises(Failure, match=r"^Keras configuration of the optimizer 'learned_optimizer[^\n]*sha256[^\n]*$"):
            keras.models.load_model(path)


def test_files_that_are_something_else(tmp_path):
    for content in (b"[" * 100_000, b"9" * 5_000, b'{"registered_name": "l2o>LearnedOptimizer", "config": []}', b"\xff"):
        (tmp_path / "other.json").write_bytes(content)
        with pytest.raises((Failure, BadInput), match=r"^[^\n]*other.json[^\n]*$"):
            resolve(tmp_path / "other.json")


def test_a_seal_does_not_depend_on_the_order(original):
    config = to_config(original)
    again = LearnedOptimizer.from_config({"optimizer": dict(reversed(config.items()))})
    assert again.loaded.optimizer == original.optimizer
