"""What `l2o export` can write: a table, which its help and choices follow. Nothing heavy is imported before it is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from l2o_cli.errors import BadInput

if TYPE_CHECKING:
    from l2o_cli.export.artifact import LoadedOptimizer


class Format(NamedTuple):
    """A format to export to.

    Attributes:
        directory: whether it is a directory with a card.yaml; else it is one file.
        description: lines for the help.
        write: writes an optimizer with its weights at a path; an existing one is replaced.
        use: lines that say how to use what lies at {out}.
    """

    directory: bool
    description: tuple[str, ...]
    write: Callable[[LoadedOptimizer, Path], None]
    use: tuple[str, ...]


def _keras(loaded: LoadedOptimizer, out: Path) -> None:
    from l2o_cli.export.keras_optimizer import keras_file
    from l2o_cli.files import write_atomically

    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, keras_file(loaded))


def _safetensors(loaded: LoadedOptimizer, out: Path) -> None:
    from l2o_cli.export.artifact import save_artifact

    save_artifact(out, loaded.optimizer, loaded.weights, loaded.card or {})


_IN_KERAS = (
    "from l2o_cli import LearnedOptimizer",
    'model.compile(optimizer=LearnedOptimizer.load("{out}"), loss="mse")',
    "model.fit(x, y)",
)
FORMATS = {
    "keras": Format(
        directory=False,
        description=(
            "one JSON file: the configuration of a Keras optimizer, weights included.",
            'LearnedOptimizer("FILE") makes it, as does keras.optimizers.deserialize.',
        ),
        write=_keras,
        use=_IN_KERAS,
    ),
    "safetensors": Format(
        directory=True,
        description=(
            "an artifact directory: weights.safetensors (float32) and card.yaml, which",
            "says what optimizer it is, how it was meta-trained, and its scores.",
        ),
        write=_safetensors,
        use=_IN_KERAS,
    ),
}


def listing() -> str:
    """The formats with their descriptions, for the help."""
    width = max(map(len, FORMATS)) + 2
    rows = [(name if not i else "", line) for name, kind in FORMATS.items() for i, line in enumerate(kind.description)]
    return "\n".join(f"{name:{width}}{line}" for name, line in rows)


def check_place(out: Path, name: str, overwrite: bool) -> None:
    """BadInput if nothing may be written at `out` in the format of that name."""
    directory = FORMATS[name].directory
    if out.exists() and out.is_dir() != directory:
        raise BadInput(f"--out {out}: --format {name} writes a {'directory' if directory else 'file'}")
    if out.exists() and not overwrite:
        raise BadInput(f"--out {out}: exists already; choose another path or add --overwrite")
    if out.is_dir() and any(out.iterdir()) and not (out / "card.yaml").exists():
        raise BadInput(f"--out {out}: a directory with other files in it, no artifact to overwrite")
