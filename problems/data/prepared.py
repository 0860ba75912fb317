"""Copies that tensorflow-datasets has prepared on this machine: used when they are there, never downloaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from problems.data.dataset import DataSet, consecutive

VALIDATION_SIZE = 5000  # taken from the end of the train split, at most a twelfth of it


def prepared_folder(name: str) -> Path | None:
    """Where the newest prepared version of `name` lies, found without importing tensorflow-datasets; None if there is none."""
    root = os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets"
    folders = [path.parent for path in Path(root, name).expanduser().glob("*/dataset_info.json")]
    versions = {tuple(int(part) for part in path.name.split(".")): path for path in folders if _is_version(path.name)}
    return versions[max(versions)] if versions else None


def _is_version(text: str) -> bool:
    return all(part.isdecimal() for part in text.split("."))


def _sizes(train: int, test: int) -> tuple[int, int, int]:
    validation = min(VALIDATION_SIZE, train // 12)
    return train - validation, validation, test


def _source(title: str, folder: Path, sizes: tuple[int, int, int]) -> str:
    return f"{title}, tensorflow-datasets {folder.name} ({'/'.join(str(size) for size in sizes)})"


def describe_prepared(folder: Path, title: str) -> str:
    """The `source` that reading the copy in `folder` will give, from its description alone.

    Raises:
        OSError, KeyError, ValueError: the description cannot be read.
    """
    info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    counts = {split["name"]: sum(int(count) for count in split["shardLengths"]) for split in info["splits"]}
    return _source(title, folder, _sizes(counts["train"], counts["test"]))


def read_prepared(folder: Path, title: str, peak: float) -> DataSet:
    """The images and labels prepared in `folder`; whatever tensorflow-datasets raises if it cannot read them."""
    import tensorflow_datasets

    builder = tensorflow_datasets.builder_from_directory(folder)
    parts = [tensorflow_datasets.as_numpy(builder.as_dataset(split=split, batch_size=-1)) for split in ("train", "test")]
    sizes = _sizes(*(len(part["label"]) for part in parts))
    inputs = np.concatenate([part["image"] for part in parts])
    labels = np.concatenate([part["label"] for part in parts]).astype(np.int32)
    if inputs.ndim == 4 and inputs.shape[-1] == 1:
        inputs = inputs[..., 0]
    return DataSet(inputs, labels, consecutive(sizes), peak, _source(title, folder, sizes))
