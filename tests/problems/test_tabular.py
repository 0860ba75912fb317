"""The classifier of tables, and the embedded table."""

import zipfile

import numpy as np
import pytest
from l2o_problems.data import DataMissing, embedded
from l2o_problems.data.tables import TABLES, load_table
from l2o_problems.random import as_seed
from l2o_problems.tabular import TabularMlp

from docs.tools.repack import TABLE, repack


def mlp(problem, params, task, batch):
    hidden = np.tanh(batch["inputs"] @ params["kernel0"] + params["bias0"])
    logits = hidden @ params["kernel1"] + params["bias1"]
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), batch["labels"]])


def test_loss_and_gradient(check_loss, check_gradient):
    problem = TabularMlp(hidden=(5,), activation="tanh", batch_size=9)
    for split in ("train", "validation"):
        check_loss(problem, mlp, split)
    check_gradient(problem, mlp)


def test_the_table_is_the_one_that_was_published():
    table = load_table("breast_cancer")
    assert table.inputs.shape == (569, 30) and np.bincount(table.labels).tolist() == [212, 357]
    # Of the description that comes with it: least and greatest mean area, and worst fractal dimension.
    np.testing.assert_allclose([table.inputs[:, 3].min(), table.inputs[:, 3].max()], [143.5, 2501.0])
    np.testing.assert_allclose([table.inputs[:, 29].min(), table.inputs[:, 29].max()], [0.055, 0.208], atol=5e-4)
    assert [np.bincount(table.split(split)[1]).tolist() for split in ("validation", "test")] == [[28, 28]] * 2
    assert len(np.unique(table.inputs, axis=0)) == 569


def test_columns_are_standardized_by_the_training_examples_or_are_as_they_are():
    raw, train = (load_table("breast_cancer").split(split)[0].astype(np.float64) for split in ("validation", "train"))
    for standardized, expected in ((False, raw), (True, (raw - train.mean(0)) / train.std(0))):
        problem = TabularMlp(standardized=standardized)
        batch = problem.batch(as_seed(0), problem.sample(as_seed(1), 2), "validation")
        np.testing.assert_allclose(batch["inputs"][0], expected, rtol=1e-5, atol=1e-5)


def test_repack_writes_the_table_again(tmp_path):
    table = load_table("breast_cancer")
    rows = [
        ",".join([*map(repr, map(float, inputs)), str(label)]) for inputs, label in zip(table.inputs, table.labels, strict=True)
    ]
    with zipfile.ZipFile(tmp_path / "wheel.whl", "w") as archive:
        archive.writestr(TABLE, "\n".join(["569,30,malignant,benign", *rows]))
    [file] = repack(tmp_path / "wheel.whl", tmp_path)
    with np.load(file) as made:
        assert made["sizes"].tolist() == list(TABLES["breast_cancer"].sizes)
        order = np.lexsort(made["inputs"].T)
        np.testing.assert_array_equal(made["inputs"][order], table.inputs[np.lexsort(table.inputs.T)])
        np.testing.assert_array_equal(made["labels"][order], table.labels[np.lexsort(table.inputs.T)])


def test_a_table_that_is_missing_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    load_table.cache_clear()
    with pytest.raises(DataMissing) as caught:
        load_table("breast_cancer")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(DataMissing, match="no table 'wine'; there are: breast_cancer"):
        load_table("wine")
    assert TabularMlp().param_shapes and "457/56/56" in TabularMlp().source  # known without the table
