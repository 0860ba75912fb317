"""What `l2o export` writes: a file for Keras, or an artifact."""

from __future__ import annotations

from pathlib import Path

from l2o_cli.errors import BadInput
from l2o_cli.export.artifact import CARD, LoadedOptimizer, save_artifact
from l2o_cli.export.keras_optimizer import keras_file
from l2o_cli.files import write_atomically


def check_place(out: Path, format_: str, overwrite: bool) -> None:
    """BadInput if nothing may be written at `out`."""
    wrong_kind = out.is_dir() if format_ == "keras" else out.exists() and not out.is_dir()
    if wrong_kind:
        raise BadInput(f"--out {out}: --format {format_} writes a {'file' if format_ == 'keras' else 'directory'}")
    if out.exists() and not overwrite:
        raise BadInput(f"--out {out}: exists already; choose another path or add --overwrite")
    if out.is_dir() and any(out.iterdir()) and not (out / CARD).exists():
        raise BadInput(f"--out {out}: a directory with other files in it, no artifact to overwrite")


def write(loaded: LoadedOptimizer, out: Path, format_: str) -> None:
    """Write an optimizer with its weights, in the format `keras` or `safetensors`."""
    if format_ == "keras":
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, keras_file(loaded))
    else:
        save_artifact(out, loaded.optimizer, loaded.weights, loaded.card or {})
