"""The data sets that come with the package; NOTICE.md beside this file says whose they are."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from problems.data.dataset import DataMissing, DataSet, consecutive

FOLDER = Path(__file__).parent


def read_embedded(file: str, title: str, peak: float) -> DataSet:
    """The data set in `file`, whose source is `title` and the sizes of its splits; DataMissing if it cannot be read."""
    path = FOLDER / file
    try:
        with np.load(path) as archive:
            # Each access to an open archive decompresses the whole array again.
            inputs, labels, sizes = archive["inputs"], archive["labels"], archive["sizes"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataMissing(f"{path}: cannot read the embedded data ({type(error).__name__}: {error})") from error
    counts = "/".join(str(size) for size in sizes)
    return DataSet(inputs, labels.astype(np.int32), consecutive(tuple(sizes)), peak, f"{title} ({counts})")
