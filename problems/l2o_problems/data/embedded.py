"""The data sets that come with the package; NOTICE.md beside this file says whose they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from l2o_problems.data.dataset import DataMissing, Sizes

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class EmbeddedInfo:
    """What is known of data that only come with the package, without reading them.

    Attributes:
        file: where they lie in this folder, written by `docs/tools/repack.py`.
        sizes: of train, validation and test.
    """

    kind: ClassVar[str]  # what such data are called
    unit: ClassVar[str] = ""  # of the sizes

    title: str
    file: str
    sizes: Sizes

    @property
    def source(self) -> str:
        """One line for the record: what, whence, and the sizes of the splits."""
        return f"{self.title}, embedded ({'/'.join(map(str, self.sizes))}{self.unit})"


Info = TypeVar("Info", bound=EmbeddedInfo)


@contextlib.contextmanager
def reading(infos: Mapping[str, Info], name: str) -> Iterator[tuple[Info, Any]]:
    """What is known of `name`, and the arrays of its file by name.

    Raises:
        DataMissing: it is none of those there are; whatever is wrong with the file, or found to be wrong in this context.
    """
    if name not in infos:
        raise DataMissing(f"no {next(iter(infos.values())).kind} {name!r}; there are: {', '.join(infos)}")
    info = infos[name]
    path = FOLDER / info.file
    try:
        with np.load(path) as archive:
            yield info, archive
    except Exception as error:
        raise DataMissing(f"{path}: cannot read the embedded {info.kind} ({type(error).__name__}: {error})") from error


@dataclass(frozen=True)
class Embedded:
    """`file` of this folder, written by `docs/tools/repack.py`, which `words` describe."""

    file: str
    words: str = "embedded"
    remedy = None

    def find(self) -> Path | None:
        return FOLDER / self.file

    def describe(self, path: Path) -> tuple[str, Sizes]:
        with np.load(path) as archive:
            train, validation, test = (int(size) for size in archive["sizes"])
        return self.words, (train, validation, test)

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        with np.load(path) as archive:
            return archive["inputs"], archive["labels"]
