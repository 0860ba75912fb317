"""`l2o export`, and what it wrote, in processes of their own."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from l2o_cli import LearnedOptimizer
from l2o_cli.commands.export import export
from l2o_cli.errors import BadInput
from l2o_cli.export.artifact import load_artifact, save_artifact
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN


@pytest.fixture
def run(tmp_path):
    """The directory of a meta-training run, "demo"."""
    optimizer = HierarchicalRNN(hidden=(2,), attention=True)
    save_artifact(tmp_path / "demo" / "artifact", optimizer, optimizer.init_weights(4), {"meta_training": {"steps": 9}})
    return tmp_path / "demo"


@pytest.fixture
def invoke():
    """`invoke(...)`: the command's output; what it raises is raised."""

    def call(*arguments):
        return CliRunner().invoke(export, [str(argument) for argument in arguments], catch_exceptions=False).output

    return call


ELSEWHERE = """
import json, sys
import keras, numpy as np, tensorflow as tf
from l2o_cli import LearnedOptimizer
path, x, y, start, out = sys.argv[1], *(np.load(name) for name in sys.argv[2:4]), *sys.argv[4:]
for maker in (lambda: LearnedOptimizer.load(path), lambda: keras.optimizers.deserialize(json.load(open(path)))):
    model = keras.models.load_model(start)
    model.compile(maker(), "mse", jit_compile=False)
    model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    model.save_weights(out)
    out = "again_" + out
"""


@pytest.mark.slow
def test_a_keras_file_trains_the_same_in_another_process(run, invoke, network, data, same, tmp_path):
    output = invoke("--optimizer", run, "--format", "keras", "--out", tmp_path / "demo.json")
    assert f"wrote {tmp_path / 'demo.json'}: demo" in output
    assert len(output.splitlines()) == 5

    start = network()
    start.save(tmp_path / "start.keras")
    for name, value in zip("xy", data, strict=True):
        np.save(tmp_path / f"{name}.npy", value)
    command = [sys.executable, "-c", ELSEWHERE, "demo.json", "x.npy", "y.npy", "start.keras", "there.weights.h5"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=environment())

    start.compile(LearnedOptimizer(run), "mse", jit_compile=False)
    start.fit(*data, batch_size=16, epochs=3, shuffle=False, verbose=0)
    for name in ("there", "again_there"):
        there = keras.models.clone_model(start)
        there.load_weights(tmp_path / f"{name}.weights.h5")
        same(there, start)


def environment():
    import os
    from pathlib import Path

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_safetensors_export_is_an_artifact(run, invoke, tmp_path):
    out = tmp_path / "new" / "place"
    invoke("--optimizer", run, "--format", "safetensors", "--out", out)
    original, copy = load_artifact(run / "artifact"), load_artifact(out)
    assert copy.optimizer == original.optimizer
    assert copy.card == original.card
    assert copy.label == "place"


def test_nothing_is_overwritten_unasked(run, invoke, tmp_path):
    options = ("--optimizer", run, "--format")
    file, directory = tmp_path / "demo.json", tmp_path / "copy"
    for format_, out in (("keras", file), ("safetensors", directory)):
        invoke(*options, format_, "--out", out)
        with pytest.raises(BadInput, match=f"{out.name}: exists already"):
            invoke(*options, format_, "--out", out)
        invoke("--optimizer", "adam", "--format", format_, "--out", out, "--overwrite")
    assert json.loads(file.read_text())["config"]["optimizer"]["name"] == "adam"
    assert load_artifact(directory).optimizer.name == "adam"

    with pytest.raises(BadInput, match="writes a file"):
        invoke(*options, "keras", "--out", directory, "--overwrite")
    with pytest.raises(BadInput, match="writes a directory"):
        invoke(*options, "safetensors", "--out", file, "--overwrite")
    with pytest.raises(BadInput, match="other files"):
        invoke(*options, "safetensors", "--out", tmp_path, "--overwrite")
    with pytest.raises(BadInput, match="unknown optimizer"):
        invoke("--optimizer", "adan", "--format", "keras", "--out", tmp_path / "never.json")
    assert not (tmp_path / "never.json").exists()


def test_help_has_an_example(invoke):
    assert "l2o export --optimizer tensor_rnn --format keras --out tensor_rnn.json" in invoke("--help")


def test_importing_the_package_is_light():
    script = "import sys, l2o_cli; l2o_cli.__version__; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, env=environment())
