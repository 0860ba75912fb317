"""Data sets: what is in them, where they come from, and what happens when they are not there."""

import ast
import gzip
import json
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from l2o_problems import data
from l2o_problems.data import DATA_SETS, DataMissing, embedded, idx, prepared

from docs.tools.repack import stratified_order

SIZES = {"digits": (1437, 180, 180), "mnist": (4000, 500, 500)}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """Nothing loaded yet, no prepared copy, no system package, no network."""

    def refuse(*arguments):
        raise AssertionError("the network was used")

    monkeypatch.setattr(data, "_loaded", {})
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(idx, "FOLDER", tmp_path / "system")
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
        with pytest.raises(DataMissing, match="no data set 'cifar'; there are: digits, mnist, fashion_mnist, cifar10"):
            ask("cifar")


@pytest.mark.parametrize("content", [None, b"not an archive"])
def test_missing_or_broken_file_is_one_line(monkeypatch, tmp_path, content):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    if content is not None:
        (tmp_path / "digits.npz").write_bytes(content)
    with pytest.raises(DataMissing) as caught:
        data.load("digits")
    assert str(tmp_path / "digits.npz") in str(caught.value) and "\n" not in str(caught.value)


MISSING = [name for name in DATA_SETS if name not in SIZES]


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_data_set_names_the_command_that_prepares_it(name, tmp_path):
    for ask in (data.load, data.describe):
        begin = time.process_time()
        with pytest.raises(DataMissing) as caught:
            ask(name)
        assert time.process_time() - begin < 1
        message = str(caught.value)
        assert message.startswith(f"{DATA_SETS[name].title}: not on this machine; ") and "\n" not in message
        assert str(tmp_path) in message
        ast.parse(re.search('python -c "(.*?)"', message)[1])
        assert re.search(r"tfds\.load\('(.*?)'\)", message)[1] in PREPARED.values()
    assert ("apt-get install dataset-fashion-mnist" in message) == (name == "fashion_mnist")


# What the data sets are called by tensorflow-datasets.
PREPARED = {
    "mnist": "mnist",
    "fashion_mnist": "fashion_mnist",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "svhn": "svhn_cropped",
    "imagenet16": "imagenet_resized/16x16",
    "imagenet32": "imagenet_resized/32x32",
}


@pytest.mark.parametrize("name", PREPARED)
def test_the_catalog_agrees_with_tensorflow_datasets(name, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.builder(PREPARED[name], data_dir=tmp_path).info.features
    info = DATA_SETS[name]
    assert features["image"].shape == (info.side, info.side, info.channels) and features["image"].dtype == np.uint8
    assert features["label"].num_classes == info.classes
    assert info.pixels == np.prod(features["image"].shape)


def prepare(folder, name, version, train, test, *, test_split="test", more=()):
    """A copy such as tensorflow-datasets prepares, with random images; returns those of the test split."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    info = DATA_SETS[name]
    shape = (info.side, info.side, info.channels)
    generator = np.random.default_rng(0)
    images = {split: generator.integers(0, 256, (size, *shape), np.uint8) for split, size in (("train", train), ("test", test))}

    def examples(split):
        count = len(images[split])
        columns = {"image": images[split], "label": np.arange(count) % info.classes}
        return tf.data.Dataset.from_tensor_slices({**columns, **{key: [key] * count for key in more}})

    dataset, _, config = PREPARED[name].partition("/")
    tfds.dataset_builders.store_as_tfds_dataset(
        name=dataset,
        version=version,
        config=config or None,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=shape),
                "label": tfds.features.ClassLabel(num_classes=info.classes),
                **{key: tfds.features.Text() for key in more},
            }
        ),
        split_datasets={"train": examples("train"), test_split: examples("test")},
        data_dir=folder,
        disable_shuffling=True,
    )
    return images["test"]


def test_prepared_copy_is_used_in_its_newest_version(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    prepare(tmp_path, "mnist", "3.0.1", 120, 30)
    (tmp_path / "mnist" / "incomplete.4.0.0").mkdir()
    announced = data.describe("mnist")
    assert not data._loaded  # described without reading it
    loaded = data.load("mnist")
    assert loaded.source == announced == "MNIST, tensorflow-datasets 3.0.1 (110/10/30)"
    assert loaded.inputs.shape == (150, 28, 28) and loaded.inputs.dtype == np.uint8 and loaded.inputs.std() > 70
    np.testing.assert_array_equal(loaded.split("test")[1], np.arange(30) % 10)
    assert [len(loaded.split(split)[1]) for split in ("train", "validation", "test")] == [110, 10, 30]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fashion_mnist", {}),
        ("cifar10", {"more": ["id"]}),
        ("cifar100", {"more": ["id"]}),
        ("svhn", {"more": ["id"]}),
        ("imagenet16", {"test_split": "validation"}),
        ("imagenet32", {"test_split": "validation"}),
    ],
)
def test_prepared_copies_of_all_data_sets(name, options, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    images = prepare(tmp_path, name, "1.0.0", 24, 7, **options)
    info = DATA_SETS[name]
    announced = data.describe(name)
    loaded = data.load(name)
    assert loaded.source == announced == f"{info.title}, tensorflow-datasets 1.0.0 (22/2/7)"
    inputs, labels = loaded.split("test")
    np.testing.assert_array_equal(inputs, images[..., 0] if info.channels == 1 else images)
    np.testing.assert_array_equal(labels, np.arange(7))
    assert loaded.peak == 255 and labels.dtype == np.int32


def test_a_large_copy_is_read_in_part_and_the_record_says_so(monkeypatch, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(prepared, "MAXIMUM", 20)
    prepare(tmp_path, "cifar10", "3.0.2", 36, 8)
    assert data.describe("cifar10") == data.load("cifar10").source
    assert data.load("cifar10").source == "CIFAR-10, tensorflow-datasets 3.0.2, the first 20 of 36 training images (19/1/8)"
    np.testing.assert_array_equal(data.load("cifar10").labels, [*np.arange(20) % 10, *range(8)])


def test_a_prepared_copy_that_tensorflow_datasets_is_needed_for(monkeypatch, tmp_path):
    folder = tmp_path / "cifar10" / "3.0.2"
    folder.mkdir(parents=True)
    splits = [{"name": "train", "shardLengths": ["50000"]}, {"name": "test", "shardLengths": ["10000"]}]
    (folder / "dataset_info.json").write_text(json.dumps({"splits": splits}))
    assert data.describe("cifar10") == "CIFAR-10, tensorflow-datasets 3.0.2 (45834/4166/10000)"
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataMissing, match=r"CIFAR-10: the copy in .*3\.0\.2 could not be read .*tensorflow_datasets.*l2o\[data"):
        data.load("cifar10")


def write_idx(path, values):
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    with gzip.open(path, "wb") as stream:
        stream.write(header + values.tobytes())


def install_fashion(tmp_path, train=24, test=5):
    """What the system package installs, with random images; returns them."""
    folder = tmp_path / "system" / "fashion-mnist"
    folder.mkdir(parents=True)
    images = np.random.default_rng(1).integers(0, 256, (train + test, 28, 28), np.uint8)
    for part, piece in (("train", slice(0, train)), ("t10k", slice(train, None))):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images[piece])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", (np.arange(train + test) % 10)[piece].astype(np.uint8))
    return images


def test_system_package(tmp_path):
    images = install_fashion(tmp_path)
    announced = data.describe("fashion_mnist")
    assert not data._loaded
    loaded = data.load("fashion_mnist")
    assert loaded.source == announced == "Fashion-MNIST, Debian package dataset-fashion-mnist (22/2/5)"
    np.testing.assert_array_equal(loaded.inputs, images)
    np.testing.assert_array_equal(loaded.labels, np.arange(29) % 10)


def test_system_package_gives_way_to_a_prepared_copy_when_it_is_broken(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    install_fashion(tmp_path)
    prepare(tmp_path, "fashion_mnist", "3.0.1", 12, 3)
    assert "Debian" in data.describe("fashion_mnist")  # preferred while nothing is wrong with it
    (tmp_path / "system" / "fashion-mnist" / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.warns(UserWarning, match="could not be read"):
        loaded = data.load("fashion_mnist")
    assert loaded.source.startswith("Fashion-MNIST, tensorflow-datasets 3.0.1, as the copy in ")
    assert data.describe("fashion_mnist") == loaded.source and len(loaded.inputs) == 15


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param("train-labels", b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", id="floats"),
        pytest.param("t10k-images", b"\0\0\x08\x03" + b"\0\0\0\x05" * 3 + b"short", id="too short"),
        pytest.param("t10k-images", b"\0\0\x08\x03" + b"\0\0\0\x05" * 3 + bytes(125), id="5x5 pixels"),
        pytest.param("t10k-labels", b"\0\0\x08\x01" + b"\0\0\0\x05" + bytes([0, 1, 2, 3, 10]), id="11 classes"),
        pytest.param("train-labels", None, id="not gzip"),
    ],
)
def test_a_broken_system_package_is_one_line(file, content, tmp_path):
    install_fashion(tmp_path)
    [path] = (tmp_path / "system" / "fashion-mnist").glob(f"{file}-*")
    path.write_bytes(b"not gzip" if content is None else gzip.compress(content))
    with pytest.raises(DataMissing, match=r"the copy in .*fashion-mnist could not be read .*; where there is a net") as caught:
        data.load("fashion_mnist")
    assert "\n" not in str(caught.value)


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
        "from l2o_problems import data\n"
        "from l2o_problems.registry import PROBLEMS\n"
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
