"""The Adafactor MLP optimizer against a second implementation: numpy, one instance and tensor after another."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers import factored
from l2o_cli.optimizers.adafactor_mlp import AdafactorMlp
from l2o_cli.optimizers.packing import Layout
from tests.optimizers.convergence import meta_trained_ratio
from tests.optimizers.per_parameter import (
    INSTANCES,
    LAYOUT,
    check_finite,
    check_meta_gradient,
    follow,
    given_run,
    numpy_network,
    numpy_normalized,
    perturbed,
    tensors_of,
)

SCALES = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000]
# Of the shapes in LAYOUT: the longest axis and the second longest, by eye; of two equally long the later counts as longer.
AXES = {(3, 2): (0, 1), (3, 3): (1, 0), (2, 4, 3): (1, 2), (2, 1, 3, 3): (3, 2)}
VARIANTS = {
    "default": {},
    "one hidden layer": {"hidden": (6,)},
    "fixed decays": {"learned_decays": False},
    "two decays each": {"momentum_decays": (0.8, 0.95), "square_decays": (0.9, 0.99), "factored_decays": (0.7, 0.97)},
    "normalized step": {"normalize_step": True},
}


class NumpyReference:
    """One instance in float64, tensor by tensor."""

    def __init__(self, optimizer, weights):
        self.o = optimizer
        self.w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.tensors = [TensorReference(self, shape) for shape in LAYOUT.shapes]
        self.step = 0

    def decays(self, name):
        decays = np.array(getattr(self.o, name))
        offsets = self.w[name][:, 0, 0] if self.o.learned_decays else 0.0
        return 1 / (1 + np.exp(-np.log(decays / (1 - decays)) - 10 * offsets))

    def update(self, theta, gradient):
        parts = [t.update(theta[p], gradient[p]) for t, p in zip(self.tensors, tensors_of(LAYOUT), strict=True)]
        self.step += 1
        return np.concatenate(parts)


class TensorReference:
    def __init__(self, whole, shape):
        self.whole, self.shape = whole, shape
        self.m, self.v, self.r, self.c = (dict() for _ in range(4))  # by number of the decay, of the tensor's shape

    def averaged(self, averages, decays, value):
        for k, decay in enumerate(self.whole.decays(decays)):
            averages[k] = decay * averages.get(k, 0.0) + (1 - decay) * value
        return [averages[k] for k in sorted(averages)]

    def update(self, theta, gradient):
        p, g = theta.reshape(self.shape), gradient.reshape(self.shape)
        m = self.averaged(self.m, "momentum_decays", g)
        v = self.averaged(self.v, "square_decays", g**2)
        if self.shape in AXES:
            longest, second = AXES[self.shape]
            # With the reduced axis left at length 1, numpy repeats a row's or a column's moment by itself.
            r = self.averaged(self.r, "factored_decays", (g**2).mean(longest, keepdims=True))
            c = self.averaged(self.c, "factored_decays", (g**2).mean(second, keepdims=True))
            relative = [rk / (rk.mean(second, keepdims=True) + 1e-9) for rk in r]
            f = [1 / np.sqrt(np.maximum(rk, 1e-9) * np.maximum(ck, 1e-9)) for rk, ck in zip(relative, c, strict=True)]
        else:
            r = c = self.averaged(self.r, "factored_decays", g**2)
            f = [1 / np.sqrt(rk + 1e-9) for rk in r]
        inverse = [1 / np.sqrt(vk + 1e-6) for vk in v]
        own = [g, p, *m, *v, *(mk * i for mk, i in zip(m, inverse * (len(m) // len(v)), strict=True)), *inverse]
        own += [g * fk for fk in f] + [mk * fk for mk, fk in zip(m, f, strict=True)]
        shared = [*r, *(1 / np.sqrt(rk + 1e-8) for rk in r), *c, *(1 / np.sqrt(ck + 1e-8) for ck in c)]
        columns = [numpy_normalized(np.broadcast_to(column, self.shape).ravel()) for column in own + shared]
        columns += [np.full(g.size, np.tanh(self.whole.step / x - 1)) for x in SCALES]
        inputs = np.stack(columns, axis=1)
        assert inputs.shape[1] == (39 if len(m) == 3 else 33)
        return theta - numpy_network(self.whole.o, self.whole.w, inputs)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_update_equals_numpy(options):
    optimizer = AdafactorMlp(**{"step_multiplier": 0.01, "exponent_multiplier": 0.5, **options})
    weights = perturbed(optimizer)
    references = [NumpyReference(optimizer, weights) for _ in range(INSTANCES)]
    params, gradients = given_run()
    expected = params.astype(np.float64)
    for gradient, found in zip(gradients, follow(optimizer, weights, params, gradients)[0], strict=True):
        expected = np.stack([r.update(row, g) for r, row, g in zip(references, expected, gradient, strict=True)])
        assert np.isfinite(found).all()  # two NaNs would count as equal
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected - params).max() > 1e-3


def test_default_inputs_are_39_for_two_layers_of_4():
    weights = AdafactorMlp().init_weights(0)
    assert [weights[f"mlp/{layer}/matrix"].shape for layer in range(3)] == [(4, 39), (4, 4), (2, 4)]


def test_state_keeps_rows_and_columns_only():
    layout = Layout.of({"kernel": (300, 200), "bias": (200,)})
    optimizer = AdafactorMlp()
    state = optimizer.init_state(optimizer.init_weights(0), layout, 2, 0)
    sizes = {"momenta": (3, 60_200), "squares": (1, 60_200), "rows": (3, 200), "columns": (3, 300), "plain": (3, 200)}
    assert {name: leaf.shape for name, leaf in state.items()} == {name: (s, 2, n) for name, (s, n) in sizes.items()}
    vectors = optimizer.init_state(optimizer.init_weights(0), Layout.of({"x": (5,)}), 2, 0)
    assert "rows" not in vectors and "columns" not in vectors


def test_moments_of_a_matrix_of_rank_one_are_exact():
    """Rows times columns over the mean of the rows is the matrix itself."""
    rng = np.random.default_rng(0)
    layout = Layout.of({"a": (4, 6), "b": (3,), "c": (2, 5, 4)})
    matrix = rng.uniform(1, 2, 4)[:, None] * rng.uniform(1, 2, 6)
    cube = rng.uniform(1, 2, (2, 5, 1)) * rng.uniform(1, 2, (2, 1, 4))
    values = np.concatenate([matrix.ravel(), rng.uniform(1, 2, 3), cube.ravel()]).astype(np.float32)[None, None]
    parts = factored.means(values, layout)
    parts["rows"] = factored.divided_by_row_mean(parts["rows"], layout, 0.0)
    product = factored.spread_parts(parts, lambda row, column: row * column, layout)
    np.testing.assert_allclose(product, values, rtol=1e-5)


def test_rows_and_columns_may_change_places():
    """A matrix and its transpose are treated alike, and the order of rows and of columns does not matter."""
    optimizer = AdafactorMlp(step_multiplier=0.1)
    weights = perturbed(optimizer)
    rng = np.random.default_rng(0)
    params, gradients = rng.standard_normal((1, 4, 6)).astype("f"), rng.standard_normal((4, 1, 4, 6)).astype("f")

    def end(params, gradients):
        layout = Layout.of({"a": params.shape[1:]})
        flat = params.reshape(1, -1), gradients.reshape(len(gradients), 1, -1)
        return follow(optimizer, weights, *flat, layout)[0][-1].reshape(params.shape)

    expected = end(params, gradients)
    np.testing.assert_allclose(end(params.swapaxes(1, 2), gradients.swapaxes(2, 3)).swapaxes(1, 2), expected, atol=1e-5)
    rows, columns = rng.permutation(4)[:, None], rng.permutation(6)[None]
    shuffled = end(params[:, rows, columns], gradients[:, :, rows, columns])
    np.testing.assert_allclose(shuffled, expected[:, rows, columns], atol=1e-5)


@pytest.mark.parametrize("normalize_step", [False, True])
def test_extreme_gradients_leave_everything_finite(normalize_step):
    check_finite(AdafactorMlp(normalize_step=normalize_step), 0.0, 1e-30, 1e30)


@pytest.mark.slow
def test_meta_gradient_equals_finite_differences():
    check_meta_gradient(AdafactorMlp(step_multiplier=0.05, exponent_multiplier=0.5))


def test_compiled_update_equals_eager():
    optimizer = AdafactorMlp()
    weights, (params, gradients) = perturbed(optimizer), given_run(steps=1)
    state = optimizer.init_state(weights, LAYOUT, INSTANCES, seed=3)
    state = {name: leaf + np.float32(0.3) for name, leaf in state.items()}
    arguments = (weights, state, params, gradients[0], np.ones(INSTANCES, np.float32), np.array([0, 3]))
    eager = optimizer.update(*arguments, LAYOUT)
    compiled = tf.function(lambda *a: optimizer.update(*a, LAYOUT), jit_compile=True, autograph=False)(*arguments)
    assert all(np.isfinite(leaf).all() for leaf in tf.nest.flatten(compiled))
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), eager, compiled)


@pytest.mark.parametrize(
    "options",
    [{"hidden": ()}, {"factored_decays": (0.9,)}, {"square_decays": (0.9, 0.99)}, {"momentum_decays": (0.0, 0.9, 0.99)}],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        AdafactorMlp(**options)


@pytest.mark.slow
def test_meta_training_improves_its_start():
    options = {"step_multiplier": 0.1, "normalize_step": True}
    ratio = meta_trained_ratio("adafactor_mlp", options, dimension=2, steps=20, meta_steps=60, learning_rate=0.03, xla=False)
    assert ratio < 0.3


@pytest.mark.slow
def test_meta_training_makes_it_a_hundred_times_better():
    assert meta_trained_ratio("adafactor_mlp", meta_steps=600, learning_rate=1e-2) < 0.01
