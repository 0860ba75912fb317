"""Data sets in the idx format of MNIST, gzipped, as a system package installs them.

The format: two zero bytes, the type of the entries (8: unsigned bytes), the number of axes, the length of each axis as
big-endian uint32, the entries.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from l2o_problems.data.dataset import Sizes, with_validation

FOLDER = Path("/usr/share/datasets")
PARTS = ("train", "t10k")


@dataclass(frozen=True)
class SystemPackage:
    """A folder of `FOLDER` with the four files of MNIST, as Debian's `package` installs it."""

    folder: str
    package: str

    @property
    def remedy(self) -> str | None:
        return f"apt-get install {self.package} (Debian and Ubuntu)"

    def find(self) -> Path | None:
        path = FOLDER / self.folder
        return path if path.is_dir() else None

    def describe(self, path: Path) -> tuple[str, Sizes]:
        counts = []
        for part in PARTS:
            with gzip.open(_labels(path, part)) as stream:
                counts.append(_shape(stream)[0])
        return f"Debian package {self.package}", with_validation(*counts)

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        images = [_entries(path / f"{part}-images-idx3-ubyte.gz") for part in PARTS]
        return np.concatenate(images), np.concatenate([_entries(_labels(path, part)) for part in PARTS])


def _labels(path: Path, part: str) -> Path:
    return path / f"{part}-labels-idx1-ubyte.gz"


def _shape(stream: gzip.GzipFile) -> tuple[int, ...]:
    """Reads the header of an idx file of bytes."""
    header = stream.read(4)
    if len(header) < 4 or header[:3] != b"\0\0\x08":
        raise ValueError("not an idx file of unsigned bytes")
    return tuple(int.from_bytes(stream.read(4), "big") for _ in range(header[3]))


def _entries(path: Path) -> np.ndarray:
    with gzip.open(path) as stream:
        shape = _shape(stream)
        return np.frombuffer(stream.read(), np.uint8).reshape(shape)
