"""Data sets: what is in them, where they come from, and what happens when they are not there."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest

from problems import data
from problems.data import DataMissing, embedded
from problems.data.repack import stratified_order

SIZES = {"digits": (1437, 180, 180), "mnist": (4000, 500, 500)}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """Nothing loaded yet, no prepared copy, no network."""

    def refuse(*arguments):
        raise AssertionError("the network was used")

    monkeypatch.setattr(data, "_loaded", {})
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(("name", "side", "peak"), [("digits", 8, 16), ("mnist", 28, 255)])
def test_embedded(name, side, peak):
    loaded = data.load(name)
    assert loaded.inputs.shape == (sum(SIZES[name]), side, side) and loaded.inputs.dtype == np.uint8
    assert loaded.inputs.max() == peak == loaded.peak and loaded.inputs.min() == 0
    assert loaded.labels.shape == loaded.inputs.shape[:1] and loaded.labels.dtype == np.int32
    for split, size in zip(("train", "validation", "test"), SIZES[name], strict=True):
        inputs, labels = loaded.split(split)
        counts = np.bincount(labels)
        assert len(inputs) == len(labels) == size
        assert len(counts) == 10 and counts.max() - counts.min() <= (9 if (name, split) == ("digits", "train") else 0)
        assert np.mean(labels[1:] == labels[:-1]) < 0.2  # not sorted


@pytest.mark.parametrize("name", SIZES)
def test_splits_are_disjoint(name):
    inputs = data.load(name).inputs
    assert len(np.unique(inputs.reshape(len(inputs), -1), axis=0)) == len(inputs)


def test_images_and_labels_belong_together():
    """A nearest neighbor of the train split, which knows nothing of how the files were made, reads the held-out digits."""
    for name in SIZES:
        loaded = data.load(name)
        (train, known), (test, labels) = (loaded.split(split) for split in ("train", "test"))
        train, test = (part.reshape(len(part), -1).astype(np.float32) for part in (train, test))
        distance = np.sum(test**2, 1)[:, None] - 2 * test @ train.T + np.sum(train**2, 1)
        assert np.mean(known[distance.argmin(1)] == labels) > 0.92


def test_sources():
    assert data.load("mnist").source == "MNIST, 5,000 embedded digits (4000/500/500)"
    assert data.load("digits").source == "UCI handwritten digits 8x8, embedded (1437/180/180)"
    assert data.describe("mnist") == data.load("mnist").source


def test_read_once():
    assert data.load("digits") is data.load("digits")


def test_unknown_name():
    for ask in (data.load, data.describe):
        with pytest.raises(DataMissing, match="no data set 'cifar'; there are: digits, mnist"):
            ask("cifar")


@pytest.mark.parametrize("content", [None, b"not an archive"])
def test_missing_or_broken_file_is_one_line(monkeypatch, tmp_path, content):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    if content is not None:
        (tmp_path / "digits.npz").write_bytes(content)
    with pytest.raises(DataMissing) as caught:
        data.load("digits")
    assert str(tmp_path / "digits.npz") in str(caught.value) and "\n" not in str(caught.value)


def prepare(folder, version, train, test):
    """A copy of "mnist" such as tensorflow-datasets prepares, with random images."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    generator = np.random.default_rng(0)

    def examples(size):
        images = generator.integers(0, 256, size=(size, 28, 28, 1), dtype=np.uint8)
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": np.arange(size) % 10})

    tfds.dataset_builders.store_as_tfds_dataset(
        name="mnist",
        version=version,
        features=tfds.features.FeaturesDict(
            {"image": tfds.features.Image(shape=(28, 28, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
        ),
        split_datasets={"train": examples(train), "test": examples(test)},
        data_dir=folder,
        disable_shuffling=True,
    )


def test_prepared_copy_is_used_in_its_newest_version(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    prepare(tmp_path, "3.0.1", 120, 30)
    (tmp_path / "mnist" / "incomplete.4.0.0").mkdir()
    announced = data.describe("mnist")
    assert not data._loaded  # described without reading it
    loaded = data.load("mnist")
    assert loaded.source == announced == "MNIST, tensorflow-datasets 3.0.1 (110/10/30)"
    assert loaded.inputs.shape == (150, 28, 28) and loaded.inputs.dtype == np.uint8 and loaded.inputs.std() > 70
    np.testing.assert_array_equal(loaded.split("test")[1], np.arange(30) % 10)
    assert [len(loaded.split(split)[1]) for split in ("train", "validation", "test")] == [110, 10, 30]


def test_unreadable_copy_is_replaced_and_the_record_says_so(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    folder = tmp_path / "mnist" / "3.0.10"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({"name": "mnist"}))
    with pytest.warns(UserWarning, match="could not be read"):
        loaded = data.load("mnist")
    assert loaded.source.startswith(f"MNIST, 5,000 embedded digits, as the copy in {folder} could not be read (")
    assert loaded.source.endswith("(4000/500/500)") and "\n" not in loaded.source
    assert data.describe("mnist") == loaded.source and len(loaded.inputs) == 5000


def test_problems_can_be_listed_without_reading_images_or_importing_tensorflow_datasets(tmp_path):
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    splits = [{"name": "train", "shardLengths": ["60000"]}, {"name": "test", "shardLengths": ["10000"]}]
    (tmp_path / "mnist" / "3.0.1" / "dataset_info.json").write_text(json.dumps({"splits": splits}))
    script = (
        "import sys\n"
        "from problems import data\n"
        "from problems.registry import PROBLEMS\n"
        "print(PROBLEMS['mnist_conv']().source)\n"
        "assert not data._loaded and 'tensorflow_datasets' not in sys.modules"
    )
    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout == "MNIST, tensorflow-datasets 3.0.1 (55000/5000/10000)\n"


def test_stratified_order():
    labels = np.repeat([0, 1, 2], [10, 12, 9])
    order, sizes = stratified_order(labels, held_out=2, seed=1)
    assert sizes == (19, 6, 6) and sorted(order) == list(range(31))
    for begin, end in ((19, 25), (25, 31)):
        np.testing.assert_array_equal(np.bincount(labels[order[begin:end]]), [2, 2, 2])
