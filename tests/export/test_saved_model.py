"""The SavedModel of an optimizer: TensorFlow loads it alone, and its steps are those of the rule."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from l2o_cli.errors import BadInput, Failure
from l2o_cli.export.resolve import resolve
from l2o_cli.export.rules import initial_state, rule_of
from l2o_cli.export.saved_model import save, shapes_of
from l2o_cli.optimizers.packing import Layout, pack, unpack

ROOT = Path(__file__).parents[2]
SHAPES = {"dense/kernel": (4, 3), "bias": (3,), "scale": ()}
STEPS = 6

ALONE = """
import sys
sys.modules.update(dict.fromkeys(["l2o_cli", "l2o_problems", "keras"]))  # an import of them fails
import numpy as np
import tensorflow as tf
given = np.load(sys.argv[1])
names = [name for name in given if name.startswith("params_")]
for made in sys.argv[2:]:
    signatures = tf.saved_model.load(made).signatures
    params, state = {name: tf.constant(given[name]) for name in names}, signatures["init"]()
    shown = {"loss": None} if "loss" in signatures["update"].structured_input_signature[1] else {}
    for step, loss in enumerate(given["losses"]):
        gradients = {name.replace("params", "gradients"): tf.sin((step + 1) * params[name]) for name in names}
        shown = {"loss": tf.constant(loss) for _ in shown}
        new = signatures["update"](**params, **gradients, **state, **shown, step=tf.constant(step))
        params, state = {name: new[name] for name in names}, {name: new[name] for name in state}
    np.savez(f"{made}.npz", **params)
"""


@pytest.fixture
def start():
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


LOSSES = np.linspace(2, 1, STEPS, dtype=np.float32)


def path(loaded, start):
    """The params after STEPS updates by the rule itself."""
    layout, rule = Layout.of(SHAPES), rule_of(loaded, STEPS)
    state = initial_state(rule, loaded.weights, layout, 0)
    params = pack({name: value[None] for name, value in start.items()}, layout)
    for step in range(STEPS):
        gradients = ops.sin((step + 1) * params)
        params, state = rule.update(loaded.weights, state, params, gradients, LOSSES[step : step + 1], np.array([step]), layout)
    return {name: np.array(value[0]) for name, value in unpack(params, layout).items()}


def test_tensorflow_alone_makes_the_same_steps(load, start, tmp_path):
    rules = {tmp_path / "plain": load(), tmp_path / "reads the loss": load(loss_power=0.5)}
    for made, loaded in rules.items():
        save(loaded, made, SHAPES, STEPS)
    given = {f"params_{name.replace('/', '_')}": value for name, value in start.items()}
    np.savez(tmp_path / "given.npz", losses=LOSSES, **given)
    subprocess.run([sys.executable, "-c", ALONE, tmp_path / "given.npz", *rules], check=True, capture_output=True)
    for made, loaded in rules.items():
        with np.load(f"{made}.npz") as found:
            for name, value in path(loaded, start).items():
                np.testing.assert_allclose(found[f"params_{name.replace('/', '_')}"], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("which", ["tensor_rnn:untrained", "hrnn:untrained"])
def test_rules_with_networks_are_written_too(which, start, tmp_path):
    loaded = resolve(which)
    save(loaded, tmp_path / "made", SHAPES, STEPS)
    update = tf.saved_model.load(tmp_path / "made").signatures["update"]
    state = tf.saved_model.load(tmp_path / "made").signatures["init"]()
    assert ("loss" in update.structured_input_signature[1]) == which.startswith("tensor_rnn")
    params = {f"params_{name.replace('/', '_')}": value for name, value in start.items()}
    for step in range(STEPS):
        gradients = {name.replace("params", "gradients"): ops.sin((step + 1) * value) for name, value in params.items()}
        shown = {"loss": LOSSES[step]} if which.startswith("tensor_rnn") else {}
        new = update(**params, **gradients, **state, **shown, step=tf.constant(step))
        params, state = ({name: new[name] for name in part} for part in (params, state))
    for name, value in path(loaded, start).items():
        np.testing.assert_allclose(params[f"params_{name.replace('/', '_')}"], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_shapes_are_read_and_faults_are_said(load, network, tmp_path):
    assert shapes_of("kernel=4x3, bias=3,scale=") == {"kernel": (4, 3), "bias": (3,), "scale": ()}
    network().save(tmp_path / "model.keras")
    assert sorted(shapes_of(f"{tmp_path}/model.keras").values()) == [(1,), (3, 4), (4,), (4, 1)]
    for text in ("kernel", "kernel=4x0", "=3", "a=1,a=2", f"{tmp_path}/none.keras"):
        with pytest.raises(BadInput, match="--shapes"):
            shapes_of(text)
    for optimizer, shapes, why in (
        (load(attention=True), {"a": (2,)}, "with attention"),
        (load(), {"a": (0,)}, "no params"),
        (load(), {"a/b": (2,), "a_b": (2,)}, "'params_a_b'"),
    ):
        with pytest.raises(BadInput, match=why):
            save(optimizer, tmp_path / "made", shapes)
    assert not list(tmp_path.glob("*made*"))


def test_the_command(l2o, tmp_path):
    arguments = ("export", "--optimizer", "adam", "--format", "saved_model", "--out", "made")
    assert "--format saved_model: give --shapes, too" in l2o(*arguments).stderr
    assert l2o(*arguments, "--shapes", "kernel=4x3").returncode == 0
    assert "exists already" in l2o(*arguments, "--shapes", "kernel=4x3").stderr
    assert l2o(*arguments, "--shapes", "kernel=4x3", "--overwrite").returncode == 0
    assert list((tmp_path / "made").glob("saved_model.pb"))
    keras = l2o("export", "--optimizer", "adam", "--format", "keras", "--out", "made.json", "--steps", 3)
    assert "--steps: --format keras has no use for it" in keras.stderr


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("when", ["written", "moved"])
def test_what_was_there_outlives_a_failure(when, load, tmp_path, monkeypatch):
    out = tmp_path / "made"
    save(load(), out, SHAPES)
    before, rename = content(out), Path.rename

    def full(module, folder, **options):
        Path(folder).mkdir()
        Path(folder, "saved_model.pb").write_bytes(b"half")
        raise tf.errors.ResourceExhaustedError(None, None, f"{folder}/saved_model.pb; No space left on device")

    def move(path, target):
        if path.name == "made" and path.parent != tmp_path:
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(*(tf.saved_model, "save", full) if when == "written" else (Path, "rename", move))
    with pytest.raises(Failure, match=r"made: cannot be written: (No space left on device|Permission denied)"):
        save(load(), out, {"other": (7,)})
    assert content(out) == before and [path.name for path in tmp_path.iterdir() if "made" in path.name] == ["made"]
    monkeypatch.undo()
    save(load(), out, {"other": (7,)})
    assert content(out) != before


def test_the_example_trains_in_tflite(l2o_in, tmp_path):
    example = ROOT / "docs" / "examples" / "with_tflite.py"
    export = next(line for line in example.read_text().splitlines() if line.startswith("l2o export"))
    assert l2o_in(tmp_path, *shlex.split(export)[1:]).returncode == 0
    result = subprocess.run([sys.executable, example, "served"], cwd=tmp_path, capture_output=True, text=True)
    assert float(result.stdout.split()[-1]) < 0.1, result.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ to compile the example")
def test_the_example_in_cpp_makes_the_same_steps(l2o_in, tmp_path):
    example = ROOT / "docs" / "examples" / "saved_model.cc"
    lines = [line[5:] for line in example.read_text().splitlines() if line.startswith("//   ")]
    export, *compile_and_run = "\n".join(lines).split("\n", 1)
    assert l2o_in(tmp_path, *shlex.split(export)[1:]).returncode == 0
    shutil.copy(example, tmp_path)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(compile_and_run[0], shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = {int(step): float(loss) for step, loss in map(str.split, result.stdout.splitlines())}
    assert len(found) == 11 and found[99] < 1e-3 * found[0]

    loaded = resolve(ROOT / "checkpoints" / "tensor_rnn")
    layout, rule = Layout.of({"kernel": (2, 1), "bias": (1,)}), rule_of(loaded, 100)
    params, state = ops.full((1, 3), 2.0), initial_state(rule, loaded.weights, layout, 0)
    for step in range(31):
        loss = ops.sum(ops.square(params - 0.5))[None]
        if step in found:
            np.testing.assert_allclose(found[step], loss[0], rtol=1e-3)
        params, state = rule.update(loaded.weights, state, params, 2 * (params - 0.5), loss, np.array([step]), layout)
