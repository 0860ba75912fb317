"""Image classifiers: what a batch holds, and the two ways to evaluate a convolutional network."""

import numpy as np
import pytest
import tensorflow as tf

from problems import data
from problems.images import DigitsMlp, MnistConv, MnistMlp
from problems.random import as_seed


@pytest.mark.parametrize(("problem", "name"), [(DigitsMlp(), "digits"), (MnistMlp(), "mnist")])
def test_batches_are_pixels_in_zero_to_one_with_their_labels(problem, name):
    loaded = data.load(name)
    task = problem.sample(as_seed(1), 3)
    for split in ("validation", "test"):
        inputs, labels = loaded.split(split)
        batch = problem.batch(as_seed(0), task, split)
        np.testing.assert_allclose(batch["inputs"][0], inputs.reshape(len(inputs), -1) / loaded.peak, rtol=1e-6)
        np.testing.assert_array_equal(batch["labels"], labels[None])
    inputs, labels = loaded.split("train")
    known = {image.tobytes(): label for image, label in zip(inputs.reshape(len(inputs), -1), labels, strict=True)}
    batch = problem.batch(as_seed(0), task, "train")
    assert batch["inputs"].shape == (3, 64, loaded.inputs[0].size) and batch["labels"].shape == (3, 64)
    pixels = np.rint(batch["inputs"].numpy() * loaded.peak).astype(np.uint8)
    drawn = [known[image.tobytes()] for image in pixels.reshape(192, -1)]
    np.testing.assert_array_equal(drawn, batch["labels"].numpy().ravel())


def test_minibatches_reach_every_training_image():
    problem = DigitsMlp(batch_size=1000)
    labels = problem.batch(as_seed(3), problem.sample(as_seed(1), 20), "train")["inputs"].numpy()
    assert len(np.unique(labels.reshape(20000, -1), axis=0)) == 1437


@pytest.mark.parametrize("problem", [DigitsMlp(), MnistMlp(), MnistConv()])
def test_shared_images_give_the_loss_that_own_images_give(problem):
    task = problem.sample(as_seed(1), 3)
    params = problem.initial_params(as_seed(2), task)
    params = {name: values + 0.02 for name, values in params.items()}
    shared = {name: leaf[:, :50] for name, leaf in problem.batch(as_seed(0), task, "validation").items()}
    own = {name: tf.repeat(leaf, 3, axis=0) for name, leaf in shared.items()}

    def values(batch):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        return loss, tape.gradient(loss, params)

    for one, two in zip(*(tf.nest.flatten(tf.function(values)(batch)) for batch in (shared, own)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5 * max(1.0, np.abs(two).max()))


def test_initial_parameters_have_the_deviations_of_the_paper():
    mlp = MnistMlp().initial_params(as_seed(1), MnistMlp().sample(as_seed(0), 8))
    np.testing.assert_allclose(np.std(mlp["kernel0"]), np.sqrt(2 / 784), rtol=0.01)
    np.testing.assert_allclose(np.std(mlp["kernel1"]), np.sqrt(2 / 64), rtol=0.05)
    conv = MnistConv().initial_params(as_seed(1), MnistConv().sample(as_seed(0), 8))
    for params in (mlp, conv):
        assert not any(np.any(values) for name, values in params.items() if name.startswith("bias"))
    for name in ("kernel0", "kernel1", "kernel_out"):
        np.testing.assert_allclose(np.std(conv[name]), 0.01, rtol=0.1)
    assert {name: shape for name, shape in MnistConv().param_shapes.items() if name.startswith("kernel")} == {
        "kernel0": (3, 3, 1, 8),
        "kernel1": (5, 5, 8, 8),
        "kernel_out": (6272, 10),
    }


def test_missing_data_are_reported_when_a_batch_is_drawn(monkeypatch, tmp_path):
    from problems import images
    from problems.data import embedded

    monkeypatch.setattr(data, "_loaded", {})
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    images._constants.cache_clear()
    problem = DigitsMlp()
    task = problem.sample(as_seed(0), 1)
    with pytest.raises(data.DataMissing, match=r"digits\.npz: cannot read the embedded data"):
        problem.batch(as_seed(0), task, "train")


def test_constants_made_while_a_graph_is_traced_serve_other_graphs_too():
    from problems import images

    images._constants.cache_clear()
    problem = DigitsMlp()
    task = problem.sample(as_seed(1), 2)

    def loss():
        return problem.batch(as_seed(3), task, "train")["inputs"]

    np.testing.assert_array_equal(tf.function(loss, jit_compile=True)(), tf.function(loss)())
