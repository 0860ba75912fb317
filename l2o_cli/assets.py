"""Where the published specs and checkpoints lie: inside the installed package, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

from l2o_cli.errors import BadInput

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE / "_assets" if (_PACKAGE / "_assets").is_dir() else _PACKAGE.parent


def configs() -> Path:
    """The folder of the experiment specs, `NAME.yaml`."""
    return _ROOT / "configs"


def checkpoints() -> Path:
    """The folder of the published optimizers, one folder each."""
    return _ROOT / "checkpoints"


def find_config(name: str) -> Path:
    """The spec file `name`, or the one of that name that l2o ships; BadInput when there is neither."""
    path, shipped = Path(name), configs() / f"{name}.yaml"
    try:
        there, folder, ships = path.exists(), path.is_dir(), shipped.exists()
    except OSError:  # a name too long for a file
        there = folder = ships = False
    if there and not folder:
        return path
    if ships:
        return shipped
    if folder:
        raise BadInput(f"{name}: a folder, where a spec is expected")
    specs = (entry.relative_to(configs()).with_suffix("") for entry in configs().rglob("*.yaml"))
    names = ", ".join(sorted((entry.as_posix() for entry in specs), key=lambda name: ("/" in name, name)))
    raise BadInput(f"{name}: no such file, nor a spec that l2o ships: {names}")
