"""What `l2o export` can write: a table, which its help and choices follow. Nothing heavy is imported before it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from l2o_cli.errors import BadInput

if TYPE_CHECKING:
    from l2o_cli.export.artifact import LoadedOptimizer


class Format(NamedTuple):
    """A format to export to.

    Attributes:
        mark: the file by which a directory of it is known; None if it is one file.
        description: lines for the help.
        write: writes an optimizer with its weights at a path; an existing one is replaced. It takes the options besides.
        use: lines that say how to use what lies at {out}.
        options: of the command, that are for this format.
        needs: of these, the ones that must be given.
    """

    mark: str | None
    description: tuple[str, ...]
    write: Callable[..., None]
    use: tuple[str, ...]
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def _keras(loaded: LoadedOptimizer, out: Path) -> None:
    from l2o_cli.export.keras_optimizer import keras_file
    from l2o_cli.files import write_atomically

    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, keras_file(loaded))


def _safetensors(loaded: LoadedOptimizer, out: Path) -> None:
    from l2o_cli.export.artifact import save_artifact

    save_artifact(out, loaded.optimizer, loaded.weights, loaded.card or {})


def _saved_model(loaded: LoadedOptimizer, out: Path, shapes: str, steps: int | None = None) -> None:
    from l2o_cli.export.saved_model import save, shapes_of

    save(loaded, out, shapes_of(shapes), steps)


_IN_KERAS = (
    "from l2o_cli import LearnedOptimizer",
    'model.compile(optimizer=LearnedOptimizer.load("{out}"), loss="mse")',
    "model.fit(x, y)",
)
FORMATS = {
    "keras": Format(
        mark=None,
        description=(
            "one JSON file: the configuration of a Keras optimizer, weights included.",
            'LearnedOptimizer("FILE") makes it, as does keras.optimizers.deserialize.',
        ),
        write=_keras,
        use=_IN_KERAS,
    ),
    "safetensors": Format(
        mark="card.yaml",
        description=(
            "an artifact directory: weights.safetensors (float32) and card.yaml, which",
            "says what optimizer it is, how it was meta-trained, and its scores.",
        ),
        write=_safetensors,
        use=_IN_KERAS,
    ),
    "saved_model": Format(
        mark="saved_model.pb",
        description=(
            "a TensorFlow SavedModel for params of the --shapes, with the signatures init",
            "and update. TensorFlow loads it without l2o, from C and C++ too.",
        ),
        write=_saved_model,
        use=(
            'signatures = tf.saved_model.load("{out}").signatures',
            'state = signatures["init"]()',
            'new = signatures["update"](**params, **gradients, **state, step=tf.constant(0))',
        ),
        options=("shapes", "steps"),
        needs=("shapes",),
    ),
}


def listing() -> str:
    """The formats with their descriptions, for the help."""
    width = max(map(len, FORMATS)) + 2
    rows = [(name if not i else "", line) for name, kind in FORMATS.items() for i, line in enumerate(kind.description)]
    return "\n".join(f"{name:{width}}{line}" for name, line in rows)


def check_place(out: Path, name: str, overwrite: bool) -> None:
    """BadInput if nothing may be written at `out` in the format of that name."""
    mark = FORMATS[name].mark
    if out.exists() and out.is_dir() != bool(mark):
        raise BadInput(f"--out {out}: --format {name} writes a {'directory' if mark else 'file'}")
    if out.exists() and not overwrite:
        raise BadInput(f"--out {out}: exists already; choose another path or add --overwrite")
    if out.is_dir() and any(out.iterdir()) and not (mark and (out / mark).exists()):
        raise BadInput(f"--out {out}: a directory with other files in it, nothing of --format {name} to overwrite")


def options_of(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are given, None left out; BadInput if the format of that name has no such option, or needs another."""
    kind, options = FORMATS[name], {option: value for option, value in given.items() if value is not None}
    for option in options.keys() - set(kind.options):
        raise BadInput(f"--{option}: --format {name} has no use for it")
    for option in kind.needs:
        if option not in options:
            raise BadInput(f"--format {name}: give --{option}, too")
    return options
