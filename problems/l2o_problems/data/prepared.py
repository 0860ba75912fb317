"""Copies that tensorflow-datasets has prepared on this machine: used when they are there, never downloaded."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from l2o_problems.data.dataset import Sizes, with_validation

# Examples of a split that are read at most, the first in the shuffled order of the copy; ImageNet's train split alone has
# more. Its 32x32 pixels would be 3.9 GB, of which this is 0.3 GB; reading takes about three times as much for a moment.
MAXIMUM = 100_000


@dataclass(frozen=True)
class Prepared:
    """The data set `name` (with "/config" if it has any) of tensorflow-datasets; `test` is what it calls its test split."""

    name: str
    test: str = "test"

    @property
    def remedy(self) -> str | None:
        load = f"import tensorflow_datasets as tfds; tfds.load('{self.name}')"
        return f'python -c "{load}" (needs l2o[datasets], writes to {_root()})'

    def find(self) -> Path | None:
        """The folder of the newest version, found without importing tensorflow-datasets."""
        folders = [path.parent for path in (_root() / self.name).glob("*/dataset_info.json")]
        versions = {tuple(int(part) for part in path.name.split(".")): path for path in folders if _is_version(path.name)}
        return versions[max(versions)] if versions else None

    def describe(self, path: Path) -> tuple[str, Sizes]:
        words, (train, test) = f"tensorflow-datasets {path.name}", self._counts(path)
        if train > MAXIMUM:
            words += f", the first {MAXIMUM:,} of {train:,} training images"
        return words, with_validation(min(train, MAXIMUM), min(test, MAXIMUM))

    def read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        import tensorflow_datasets

        builder = tensorflow_datasets.builder_from_directory(path)
        splits = [
            f"{split}[:{min(count, MAXIMUM)}]" for split, count in zip(("train", self.test), self._counts(path), strict=True)
        ]
        parts = [tensorflow_datasets.as_numpy(builder.as_dataset(split=split, batch_size=-1)) for split in splits]
        inputs = np.concatenate([part["image"] for part in parts])
        labels = np.concatenate([part["label"] for part in parts])
        return (inputs[..., 0] if inputs.shape[-1] == 1 else inputs), labels

    def _counts(self, path: Path) -> tuple[int, int]:
        """Examples of the train and the test split."""
        info = json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
        counts = {split["name"]: sum(int(count) for count in split["shardLengths"]) for split in info["splits"]}
        return counts["train"], counts[self.test]


def _root() -> Path:
    try:
        return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets").expanduser()
    except RuntimeError:  # an unknown user without $HOME
        return Path("tensorflow_datasets")


def _is_version(text: str) -> bool:
    return all(part.isdecimal() for part in text.split("."))
