"""Keras as the commands need it, whatever the user has set for Keras in the shell or in keras.json."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from l2o_cli.errors import Failure

# What keras.json may set beside the backend, with Keras's own values.
_DEFAULTS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}


def choose_backend() -> None:
    """Have Keras, not imported yet, run on TensorFlow: without it nothing here works."""
    os.environ["KERAS_BACKEND"] = "tensorflow"  # goes before what keras.json says
    os.environ["KERAS_NNX_ENABLED"] = "false"  # of the JAX backend; on any other it is an import that fails


def require_backend(name: str, module: str) -> None:
    """Have Keras run on the backend that `module` is for; ImportError if Keras is imported already with another."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = name
        return
    import keras

    if keras.backend.backend() != name:
        raise ImportError(
            f"{module} needs Keras on {name}, but Keras is imported already, on {keras.backend.backend()}; "
            f"import {module} before Keras, or set KERAS_BACKEND={name}"
        )


def undo_defaults() -> None:
    """Give Keras its own defaults back where the user's keras.json has others; Failure, naming it, if Keras cannot read it.

    The update rules and the published numbers are those of float32. Keras is imported only if need be, since that takes seconds.
    """
    path = _path()
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):  # Keras takes nothing from it either
        return
    if found is None or (isinstance(found, dict) and all(found.get(name, value) == value for name, value in _DEFAULTS.items())):
        return
    try:
        import keras
    except Exception as error:  # a value that Keras refuses, in whichever way
        raise Failure(f"{path}: Keras cannot be imported with these settings: {error}") from None
    for name, value in _DEFAULTS.items():
        getattr(keras.config, f"set_{name}")(value)


def _path() -> Path:
    """Where Keras looks for its settings."""
    if "KERAS_HOME" in os.environ:
        return Path(os.environ["KERAS_HOME"]).expanduser() / "keras.json"
    home = os.path.expanduser("~")
    return Path(home if os.access(home, os.W_OK) else "/tmp") / ".keras" / "keras.json"
