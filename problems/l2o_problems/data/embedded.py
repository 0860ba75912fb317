"""The data sets that come with the package; NOTICE.md beside this file says whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from l2o_problems.data.dataset import Sizes

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Embedded:
    """`file` of this folder, written by `repack.py`, which `words` describe."""

    file: str
    words: str = "embedded"

    @property
    def remedy(self) -> str | None:
        return None

    def find(self) -> Path | None:
        return FOLDER / self.file

    def describe(self, path: Path) -> tuple[str, Sizes]:
        with np.load(path) as archive:
            train, validation, test = (int(size) for size in archive["sizes"])
        return self.words, (train, validation, test)

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        with np.load(path) as archive:
            return archive["inputs"], archive["labels"]
