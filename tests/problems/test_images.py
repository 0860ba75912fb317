"""Problems on images: what a batch holds, whole splits, what is known without the data."""

import itertools
import time

import numpy as np
import pytest
import tensorflow as tf
from l2o_problems import convolutions, data, images
from l2o_problems.convolutions import ImageConv, ImageResnet
from l2o_problems.data.shrink import shrink
from l2o_problems.images import ImageAutoencoder, ImageCompletion, ImageMlp, ImageProblem
from l2o_problems.random import as_seed
from l2o_problems.registry import PROBLEMS, summary_of

DIGITS_MLP, MNIST_MLP, MNIST_CONV = (PROBLEMS[name] for name in ("digits_mlp", "mnist_mlp", "mnist_conv"))


@pytest.mark.parametrize(("problem", "name"), [(DIGITS_MLP(), "digits"), (MNIST_MLP(), "mnist")])
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


def by_hand(image, side):
    """The mean of an image [H, H] over each of side x side equal squares, from the area of each pixel in it."""
    size, length = len(image), len(image) / side
    result = np.zeros((side, side))
    for row, column in itertools.product(range(side), repeat=2):
        for y, x in itertools.product(range(size), repeat=2):
            heights, widths = (
                max(0.0, min((square + 1) * length, pixel + 1) - max(square * length, pixel))
                for square, pixel in ((row, y), (column, x))
            )
            result[row, column] += image[y, x] * heights * widths / length**2
    return result


@pytest.mark.parametrize("side", [1, 3, 8, 14])
def test_shrunk_images_are_averages_over_areas(side):
    images = data.load("mnist").split("test")[0][:2]
    expected = [by_hand(image.astype(np.float64), side) for image in images]
    np.testing.assert_allclose(shrink(images, side), expected, rtol=1e-6, atol=1e-4)
    colours = np.stack([images, images[::-1]], axis=-1)
    np.testing.assert_allclose(shrink(colours, side), np.stack([expected, expected[::-1]], axis=-1), rtol=1e-6, atol=1e-4)


def test_half_the_side_is_the_mean_of_blocks_of_four():
    images = data.load("mnist").split("validation")[0].astype(np.float64)
    problem = MNIST_MLP(side=14)
    batch = problem.batch(as_seed(0), problem.sample(as_seed(1), 1), "validation")["inputs"][0]
    blocks = images.reshape(len(images), 14, 2, 14, 2).mean((2, 4)) / 255
    np.testing.assert_allclose(batch, blocks.reshape(len(images), 196), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["image_mlp", "image_conv", "image_resnet", "image_autoencoder", "image_completion"])
def test_a_side_is_part_of_what_a_problem_is(name):
    plain, shrunk = PROBLEMS[name](), PROBLEMS[name](side=14)
    assert "side" not in plain.identity  # as it was before there was the option
    assert shrunk.identity == plain.identity[:-1] + ",side=14)" and shrunk.structure != plain.structure
    task = shrunk.sample(as_seed(1), 2)
    batch = shrunk.batch(as_seed(2), task, "train")
    assert sum(leaf.shape[-1] for key, leaf in batch.items() if key != "labels") == 196
    assert shrunk.loss(shrunk.initial_params(as_seed(3), task), task, batch).shape == (2,)


def test_the_halves_of_an_image_are_inputs_and_targets():
    problem = ImageCompletion(data="digits", side=5, batch_size=7)
    assert problem.param_shapes["kernel0"] == (10, 64) and problem.param_shapes["bias1"] == (15,)
    whole = ImageMlp(data="digits", side=5, batch_size=7)
    task = problem.sample(as_seed(1), 2)
    halves, images = (one.batch(as_seed(2), task, "train") for one in (problem, whole))
    np.testing.assert_array_equal(np.concatenate([halves["inputs"], halves["targets"]], axis=-1), images["inputs"])


def test_minibatches_reach_every_training_image():
    problem = DIGITS_MLP(batch_size=1000)
    inputs = problem.batch(as_seed(3), problem.sample(as_seed(1), 20), "train")["inputs"].numpy()
    assert len(np.unique(inputs.reshape(20000, -1), axis=0)) == 1437


def values_and_gradients(problem, params, task, batch):
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, task, batch)
    return tf.nest.flatten((loss, tape.gradient(loss, params)))


SMALL = [
    DIGITS_MLP(),
    ImageMlp(data="digits", hidden=(8, 6), normalization="batch"),
    ImageMlp(data="digits", hidden=(8, 6), normalization="layer"),
    MNIST_MLP(),
    MNIST_CONV(),
    ImageConv(data="digits", channels=(3,), kernels=(3,), strides=(2,)),
    ImageResnet(data="digits", widths=(3, 4)),
    ImageResnet(data="digits", widths=(3, 4), normalization="batch"),
    ImageAutoencoder(data="digits", hidden=(6,)),
    ImageAutoencoder(data="digits", hidden=(6,), criterion="cross_entropy"),
]


def drawn(problem, instances=3):
    task = problem.sample(as_seed(1), instances)
    params = problem.initial_params(as_seed(2), task)
    return task, {name: values + 0.02 for name, values in params.items()}


@pytest.mark.parametrize("problem", SMALL, ids=repr)
def test_shared_images_give_the_loss_that_own_images_give(problem):
    task, params = drawn(problem)
    shared = {name: leaf[:, :50] for name, leaf in problem.batch(as_seed(0), task, "validation").items()}
    own = {name: tf.repeat(leaf, 3, axis=0) for name, leaf in shared.items()}
    for one, two in zip(*(values_and_gradients(problem, params, task, batch) for batch in (shared, own)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5 * max(1.0, np.abs(two).max()))


@pytest.mark.parametrize(
    "problem", [problem for problem in SMALL if getattr(problem, "normalization", "none") != "batch"], ids=repr
)
def test_the_loss_on_a_whole_split_is_the_mean_over_its_images(problem):
    task, params = drawn(problem)
    whole = problem.batch(as_seed(0), task, "test")
    count = whole["labels"].shape[1]
    ends = [0, 50, count // 2, count]
    means = [
        problem.loss(params, task, {name: leaf[:, begin:end] for name, leaf in whole.items()}).numpy() * (end - begin)
        for begin, end in itertools.pairwise(ends)
    ]
    np.testing.assert_allclose(problem.loss(params, task, whole), sum(means) / count, rtol=1e-5)


IN_PARTS = [problem for problem in SMALL if problem.data == "digits" and not isinstance(problem, ImageMlp)]


@pytest.mark.parametrize("problem", IN_PARTS, ids=repr)
@pytest.mark.parametrize(("instances", "split"), [(1, "validation"), (3, "validation"), (3, "train")])
def test_images_taken_in_parts_give_the_same_loss_and_gradient(problem, instances, split, monkeypatch):
    task, params = drawn(problem, instances)
    batch = {name: leaf[:, :50] for name, leaf in problem.batch(as_seed(0), task, split).items()}
    in_one_go = values_and_gradients(problem, params, task, batch)
    for size in (20, 25):  # with and without a rest
        for module in (images, convolutions):
            monkeypatch.setattr(module, "PART", size)
        for one, two in zip(in_one_go, values_and_gradients(problem, params, task, batch), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5 * max(1.0, np.abs(two).max()))


@pytest.mark.parametrize("problem", IN_PARTS, ids=repr)
def test_images_are_taken_in_parts_in_graphs_too(problem, monkeypatch):
    task, params = drawn(problem)
    batch = problem.batch(as_seed(0), task, "validation")
    expected = problem.loss(params, task, batch)
    for module in (images, convolutions):
        monkeypatch.setattr(module, "PART", 50)
    compiled = tf.function(problem.loss, jit_compile=True if problem.xla else None, autograph=False)
    np.testing.assert_allclose(compiled(params, task, batch), expected, rtol=1e-5)


@pytest.mark.parametrize("problem", SMALL[1:], ids=repr)
def test_second_derivatives(problem):
    """Hessian times a direction against the difference of gradients, compiled as the inner loop would be."""
    problem = type(problem)(**{**vars(problem), "activation": "tanh", "batch_size": 8})
    task, params = drawn(problem, 1)
    batch = problem.batch(as_seed(3), task, "train")
    generator = np.random.default_rng(0)
    direction = {name: tf.constant(generator.normal(size=values.shape), tf.float32) for name, values in params.items()}
    size = np.sqrt(sum(np.sum(np.square(values)) for values in direction.values()))
    direction = {name: values / size for name, values in direction.items()}

    def gradient(params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem.loss(params, task, batch)
        return tape.gradient(loss, params)

    @tf.function(jit_compile=True if problem.xla else None, autograph=False)
    def product(params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            slope = sum(tf.reduce_sum(values * direction[name]) for name, values in gradient(params).items())
        return tape.gradient(slope, params)

    width = 1e-2
    plus, minus = (gradient({name: params[name] + sign * width * direction[name] for name in params}) for sign in (1, -1))
    exact = product(params)
    difference = {name: (plus[name] - minus[name]) / (2 * width) for name in params}
    error, size = (
        np.sqrt(sum(np.sum(np.square(values)) for values in parts))
        for parts in ([exact[name] - difference[name] for name in params], difference.values())
    )
    assert size > 0 and error < 0.02 * size, error / size


def test_initial_parameters_have_the_deviations_of_the_paper():
    mlp = MNIST_MLP().initial_params(as_seed(1), MNIST_MLP().sample(as_seed(0), 8))
    np.testing.assert_allclose(np.std(mlp["kernel0"]), np.sqrt(2 / 784), rtol=0.01)
    np.testing.assert_allclose(np.std(mlp["kernel1"]), np.sqrt(2 / 64), rtol=0.05)
    conv = MNIST_CONV().initial_params(as_seed(1), MNIST_CONV().sample(as_seed(0), 8))
    for params in (mlp, conv):
        assert not any(np.any(values) for name, values in params.items() if name.startswith("bias"))
    for name in ("kernel0", "kernel1", "kernel_out"):
        np.testing.assert_allclose(np.std(conv[name]), 0.01, rtol=0.1)
    assert {name: shape for name, shape in MNIST_CONV().param_shapes.items() if name.startswith("kernel")} == {
        "kernel0": (3, 3, 1, 8),
        "kernel1": (5, 5, 8, 8),
        "kernel_out": (6272, 10),
    }


@pytest.mark.parametrize("problem", [ImageResnet(), PROBLEMS["mnist_deep"](), PROBLEMS["mnist_deep_layer_norm"]()])
def test_normalized_networks_start_with_scales_of_one_and_kernels_of_he(problem):
    params = problem.initial_params(as_seed(1), problem.sample(as_seed(0), 30))
    for name, values in params.items():
        if name.startswith(("kernel", "shortcut")):
            deviation = np.sqrt(2 / np.prod(problem.param_shapes[name][:-1]))
            np.testing.assert_allclose(np.std(values), deviation, rtol=4 / np.sqrt(2 * tf.size(values)))
        else:
            assert np.all(values.numpy() == name.startswith("scale")), name


def test_shapes_of_colour_images_are_known_without_them():
    assert ImageMlp(data="cifar100").param_shapes["kernel0"] == (3072, 64)
    assert ImageMlp(data="cifar100").param_shapes["kernel1"] == (64, 100)
    shapes = ImageConv(data="imagenet16", strides=(2, 3)).param_shapes
    assert shapes["kernel0"] == (3, 3, 3, 8) and shapes["kernel_out"] == (3 * 3 * 8, 1000)
    resnet = ImageResnet(data="imagenet32", widths=(4, 6), blocks=2).param_shapes
    assert resnet["kernel_in"] == (3, 3, 3, 4) and resnet["kernel_out"] == (6, 1000)
    assert {name for name in resnet if name.startswith("shortcut")} == {"shortcut2"}


@pytest.fixture
def _nowhere(monkeypatch, tmp_path):
    from l2o_problems.data import embedded, idx

    monkeypatch.setattr(data, "_loaded", {})
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    monkeypatch.setattr(idx, "FOLDER", tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    images._constants.cache_clear()


@pytest.mark.usefixtures("_nowhere")
@pytest.mark.parametrize("name", [name for name in PROBLEMS if isinstance(PROBLEMS[name](), ImageProblem)])
def test_missing_data_are_reported_when_a_batch_is_drawn_or_the_source_is_asked_for(name):
    problem = PROBLEMS[name]()
    assert problem.param_shapes and summary_of(name)
    task = problem.sample(as_seed(0), 1)
    problem.initial_params(as_seed(0), task)
    for ask in (lambda: problem.batch(as_seed(0), task, "train"), lambda: problem.source):
        begin = time.process_time()
        with pytest.raises(data.DataMissing, match=rf"^{data.DATA_SETS[problem.data].title}: .*"):
            ask()
        assert time.process_time() - begin < 1


def test_named_problems_are_families_with_options_that_can_be_changed():
    assert MNIST_MLP() == ImageMlp(data="mnist", hidden=(64,))
    assert MNIST_MLP(hidden=(3,)) == ImageMlp(data="mnist", hidden=(3,))
    assert MNIST_CONV() == ImageConv() and MNIST_CONV().structure == ImageConv().structure
    assert PROBLEMS["cifar10_resnet"]().structure != PROBLEMS["svhn_resnet"]().structure
    assert summary_of("mnist_conv") == "small convolutional network on MNIST"
    assert summary_of("image_conv") == ImageConv.summary
    assert all(summary_of(name) and "\n" not in summary_of(name) for name in PROBLEMS)


def test_constants_made_while_a_graph_is_traced_serve_other_graphs_too():
    images._constants.cache_clear()
    problem = DIGITS_MLP()
    task = problem.sample(as_seed(1), 2)

    def loss():
        return problem.batch(as_seed(3), task, "train")["inputs"]

    np.testing.assert_array_equal(tf.function(loss, jit_compile=True)(), tf.function(loss)())
