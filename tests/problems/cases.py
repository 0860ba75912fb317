"""Small problems of every kind, for tests of what all of them owe their users."""

from l2o_problems.registry import PROBLEMS
from l2o_problems.transforms import TRANSFORMS
from l2o_problems.transforms.sharing import AnyTestFunction
from l2o_problems.two_dimensional import FUNCTIONS

RESCALE, NOISE = TRANSFORMS["rescale"], TRANSFORMS["gradient_noise"]

CASES = {
    "quadratic": PROBLEMS["quadratic"](dimension=5),
    "bowl": PROBLEMS["bowl"](angle=0.3),
    "norm": PROBLEMS["norm"](dimension=5, power=1.0),
    "norm_3": PROBLEMS["norm"](dimension=4, power=3.0),
    "projection_quadratic": PROBLEMS["projection_quadratic"](dimension=5, samples=40, batch_size=10),
    "sum_of_quadratics": PROBLEMS["sum_of_quadratics"](dimension=5, samples=40, batch_size=10),
    "rosenbrock": PROBLEMS["rosenbrock"](),
    "ackley": PROBLEMS["ackley"](),
    "beale": PROBLEMS["beale"](),
    "booth": PROBLEMS["booth"](),
    "branin": PROBLEMS["branin"](),
    "log_sum_exp": PROBLEMS["log_sum_exp"](),
    "matyas": PROBLEMS["matyas"](),
    "michalewicz": PROBLEMS["michalewicz"](),
    "styblinski_tang": PROBLEMS["styblinski_tang"](),
    "valley": PROBLEMS["valley"](),
    "saddle": PROBLEMS["saddle"](),
    "any_test_function": AnyTestFunction(3),
    "dependency_chain": PROBLEMS["dependency_chain"](dimension=5),
    "outward_snake": PROBLEMS["outward_snake"](dimension=5, samples=40, batch_size=10),
    "min_max_well": PROBLEMS["min_max_well"](dimension=5),
    "matrix_multiplication": PROBLEMS["matrix_multiplication"](),
    "sparse_softmax": PROBLEMS["sparse_softmax"](),
    "sparse_softmax_one_hot": PROBLEMS["sparse_softmax"](classes=3, one_hot=True),
    "logistic_regression": PROBLEMS["logistic_regression"](batch_size=20, samples=100),
    "separable": PROBLEMS["logistic_regression"](features=4, batch_size=20, samples=60, separable=True, l2=0.0),
    "random_mlp": PROBLEMS["random_mlp"](hidden=(8, 5), inputs=6, batch_size=10, samples=80, activation="relu"),
    "random_mlp_3": PROBLEMS["random_mlp"](hidden=(6,), inputs=4, classes=3, batch_size=10, samples=80),
    "cluster_mlp": PROBLEMS["cluster_mlp"](hidden=(6,), inputs=5, classes=3, batch_size=10, samples=80),
    "softmax_regression": PROBLEMS["cluster_mlp"](hidden=(), inputs=5, classes=3, batch_size=10, samples=80),
    "residual_mlp": PROBLEMS["cluster_mlp"](
        **{"hidden": (4, 4), "inputs": 5, "classes": 3, "batch_size": 10, "samples": 80, "activation": "gelu"},
        **{"normalization": "batch", "residual": True, "label_noise": 0.2, "dead_inputs": 0.4, "input_decades": 1.0},
    ),
    "regression_mlp": PROBLEMS["regression_mlp"](hidden=(6,), inputs=5, targets=2, batch_size=10, samples=80),
    "low_rank_autoencoder": PROBLEMS["low_rank_autoencoder"](hidden=(3,), inputs=5, rank=2, batch_size=10, samples=80),
    "markov_mlp": PROBLEMS["markov_mlp"](hidden=(4,), embedding=3, length=2, batch_size=10, symbols=9, samples=80, order=2),
    "markov_rnn": PROBLEMS["markov_rnn"](hidden=4, embedding=3, length=4, batch_size=3, symbols=9, samples=80),
    "markov_transformer": PROBLEMS["markov_transformer"](width=4, length=4, batch_size=3, symbols=9, samples=80),
    "digits_mlp": PROBLEMS["digits_mlp"](hidden=(12,), batch_size=16),
    "mnist_mlp": PROBLEMS["mnist_mlp"](hidden=(8,), batch_size=8),
    "mnist_conv": PROBLEMS["mnist_conv"](channels=(2, 3), batch_size=4),
    "image_mlp_batch": PROBLEMS["image_mlp"](data="digits", hidden=(6, 5), normalization="batch", batch_size=8),
    "image_mlp_layer": PROBLEMS["image_mlp"](data="digits", hidden=(6, 5), normalization="layer", batch_size=8),
    "image_conv": PROBLEMS["image_conv"](data="digits", channels=(3,), kernels=(3,), strides=(2,), batch_size=4),
    "image_resnet": PROBLEMS["image_resnet"](data="digits", widths=(3,), batch_size=4),
    "image_autoencoder": PROBLEMS["image_autoencoder"](data="digits", hidden=(6,), batch_size=8),
    "image_autoencoder_entropy": PROBLEMS["image_autoencoder"](data="digits", hidden=(6,), criterion="cross_entropy"),
    "image_mlp_shrunk": PROBLEMS["image_mlp"](data="digits", hidden=(6,), batch_size=8, side=3, activation="linear"),
    "image_completion": PROBLEMS["image_completion"](data="digits", hidden=(6,), batch_size=8),
    "tabular_mlp": PROBLEMS["tabular_mlp"](hidden=(6,), batch_size=8),
    "word_mlp": PROBLEMS["word_mlp"](vocabulary=40, embedding=3, hidden=5, batch_size=8),
    "char_rnn": PROBLEMS["char_rnn"](hidden=5, embedding=3, length=4, batch_size=3),
    "char_lstm": PROBLEMS["char_rnn"](cell="lstm", hidden=4, embedding=3, length=3, batch_size=3),
    "transformer": PROBLEMS["transformer"](layers=1, width=4, length=4, batch_size=3),
    "rescaled": RESCALE(PROBLEMS["random_mlp"](samples=50, batch_size=10), per="tensor"),
    "noisy": NOISE(RESCALE(RESCALE(PROBLEMS["quadratic"](dimension=4)), per="parameter"), deviation=0.5),
    "subspace": TRANSFORMS["random_subspace"](PROBLEMS["random_mlp"](hidden=(4,), samples=50, batch_size=10), dimension=3),
    "sum_in_subspace": TRANSFORMS["random_subspace"](
        PROBLEMS["sum"]((NOISE(PROBLEMS["quadratic"](dimension=3)), PROBLEMS["bowl"]()))
    ),
    "displaced": TRANSFORMS["parameter_noise"](PROBLEMS["random_mlp"](hidden=(4,), samples=50, batch_size=10), scale=0.3),
    "rounded": TRANSFORMS["reduced_precision"](PROBLEMS["norm"](dimension=4)),
    "sparse": TRANSFORMS["sparse_gradients"](PROBLEMS["quadratic"](dimension=20), probability=0.5),
    "normalized": TRANSFORMS["normalized_gradients"](NOISE(PROBLEMS["quadratic"](dimension=4)), per="tensor"),
    "delayed": TRANSFORMS["delayed_gradients"](TRANSFORMS["delayed_gradients"](NOISE(PROBLEMS["norm"](dimension=4))), delay=3),
    "smaller": TRANSFORMS["smaller_batches"](PROBLEMS["random_mlp"](samples=50, batch_size=10), batch_size=4),
    "scaled_inputs": TRANSFORMS["scaled_inputs"](PROBLEMS["random_mlp"](samples=50, batch_size=10), factor=3.0),
    "logarithm": TRANSFORMS["loss_transform"](PROBLEMS["sum_of_quadratics"](dimension=5, samples=40, batch_size=10)),
    "sum": PROBLEMS["sum"]((PROBLEMS["ackley"](), NOISE(PROBLEMS["quadratic"](dimension=3)), PROBLEMS["random_mlp"](samples=50))),
}


# Other options of a family, whose code is that of another case.
VARIANTS = {
    "norm_3",
    "random_mlp_3",
    "softmax_regression",
    "digits_mlp",
    "mnist_mlp",
    "image_autoencoder_entropy",
    "image_mlp_shrunk",
}


# Every step sees the same of them: there is nothing to draw.
WITHOUT_MINIBATCHES = {function.name for function in FUNCTIONS} | {
    *("quadratic", "bowl", "norm", "norm_3", "dependency_chain", "min_max_well", "matrix_multiplication", "any_test_function"),
    *("noisy", "rounded", "sparse", "normalized", "delayed", "sum_in_subspace"),
}
