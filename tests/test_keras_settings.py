"""What a user has set for Keras, in the shell or in keras.json, does not reach the commands."""

import json
import os
import subprocess
import sys

import keras
import pytest

from l2o_cli import keras_settings
from l2o_cli.errors import Failure


@pytest.fixture(name="home")
def _home(tmp_path, monkeypatch):
    """`home(...)`: a keras.json with this content or text, and where Keras looks for it."""

    def write(content):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "keras.json").write_text(text)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        return tmp_path / "keras.json"

    yield write
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")


def test_the_backend_is_tensorflow(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_NNX_ENABLED", "true")
    keras_settings.choose_backend()
    assert (os.environ["KERAS_BACKEND"], os.environ["KERAS_NNX_ENABLED"]) == ("tensorflow", "false")


def test_other_defaults_are_undone(home):
    home({"floatx": "float64", "epsilon": 1e-3, "image_data_format": "channels_first", "backend": "jax"})
    keras.config.set_floatx("float64")
    keras.config.set_epsilon(1e-3)
    keras.config.set_image_data_format("channels_first")
    keras_settings.undo_defaults()
    assert (keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()) == ("float32", 1e-7, "channels_last")


@pytest.mark.parametrize("content", ["", "{", {}, {"backend": "jax"}, {"floatx": "float32", "epsilon": 1e-07}, None])
def test_without_other_defaults_keras_is_left_alone(content, home, tmp_path, monkeypatch):
    """It takes seconds to import."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path)) if content is None else home(content)
    monkeypatch.setitem(sys.modules, "keras", None)  # importing it fails
    keras_settings.undo_defaults()


@pytest.mark.parametrize("content", [{"floatx": "bfloat16"}, [1]])
def test_settings_that_keras_refuses_are_named(content, home, monkeypatch):
    path = home(content)
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(Failure, match=rf"^{path}: Keras cannot be imported with these settings: [^\n]*$"):
        keras_settings.undo_defaults()


@pytest.mark.slow
def test_numbers_are_the_same_whatever_keras_is_set_to(home, l2o_in, tmp_path):
    options = ("--problem", "quadratic", "--optimizer", "hrnn", "--steps", "10", "--seeds", "2")
    plain = l2o_in(tmp_path, "evaluate", *options, "--out", "plain", KERAS_HOME=str(tmp_path / "nothing"))
    home({"floatx": "float64", "epsilon": 1e-3, "image_data_format": "channels_first", "backend": "jax"})
    other = l2o_in(tmp_path, "evaluate", *options, "--out", "other", KERAS_HOME=str(tmp_path), KERAS_BACKEND="jax")
    assert (plain.returncode, other.returncode) == (0, 0), other.stderr
    losses = []
    for out in ("plain", "other"):
        rows = [line.split(",") for line in (tmp_path / out / "curves.csv").read_text().splitlines()]
        losses.append([row[:5] + row[6:] for row in rows])  # without the seconds
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_users_script_may_have_any_default_type(tmp_path):
    """The model is one of float64, and so is its training, with an update in float32."""
    (tmp_path / "keras.json").write_text('{"floatx": "float64"}')
    script = """
import keras, numpy as np
from l2o_cli import LearnedOptimizer
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
model.compile(LearnedOptimizer("hrnn"), "mse")
x = np.random.default_rng(0).normal(size=(32, 3))
before = model.evaluate(x, x[:, :1], verbose=0)
model.fit(x, x[:, :1], epochs=30, verbose=0)
assert model.weights[0].dtype == "float64", model.weights[0].dtype
assert model.evaluate(x, x[:, :1], verbose=0) < 0.9 * before
"""
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
