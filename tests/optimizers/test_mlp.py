"""The MLP optimizer against a second implementation: numpy, one instance and one tensor after another, from the description."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers.mlp import Mlp
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

SCALES = [3, 10, 30, 100, 300, 1000, 3000, 10_000, 300_000]
VARIANTS = {
    "default": {},
    "two hidden layers": {"hidden": (7, 5)},
    "two decays": {"decays": (0.8, 0.95)},
    "other multipliers": {"step_multiplier": 0.1, "exponent_multiplier": 2.0},
    "normalized step": {"normalize_step": True},
}


class NumpyReference:
    """One instance in float64, tensor by tensor."""

    def __init__(self, optimizer, weights, instance):
        self.o = optimizer
        self.w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.m = np.zeros((LAYOUT.parameters, len(optimizer.decays)))
        self.v = np.zeros_like(self.m)
        self.step = 0

    def update(self, theta, gradient):
        new = np.empty_like(theta)
        for place in tensors_of(LAYOUT):
            g, p = gradient[place], theta[place]
            for k, decay in enumerate(self.o.decays):
                self.m[place, k] = decay * self.m[place, k] + (1 - decay) * g
                self.v[place, k] = decay * self.v[place, k] + (1 - decay) * g**2
            m, v = self.m[place], self.v[place]
            columns = [g, p, *m.T, *(m / np.sqrt(v + 1e-6)).T, *v.T, *(1 / np.sqrt(v + 1e-6)).T]
            age = [np.full(len(g), np.tanh(self.step / x - 1)) for x in SCALES]
            inputs = np.stack([*map(numpy_normalized, columns), *age], axis=1)
            assert inputs.shape[1] == 2 + 4 * len(self.o.decays) + 9
            new[place] = p - numpy_network(self.o, self.w, inputs)
        self.step += 1
        return new


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_update_equals_numpy(options):
    optimizer = Mlp(**{"step_multiplier": 0.01, "exponent_multiplier": 0.5, **options})
    weights = perturbed(optimizer)
    references = [NumpyReference(optimizer, weights, instance) for instance in range(INSTANCES)]
    params, gradients = given_run()
    expected = params.astype(np.float64)
    for gradient, found, state in zip(gradients, *follow(optimizer, weights, params, gradients), strict=True):
        expected = np.stack([r.update(row, g) for r, row, g in zip(references, expected, gradient, strict=True)])
        assert np.isfinite(found).all()  # two NaNs would count as equal
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        for instance, reference in enumerate(references):
            np.testing.assert_allclose(np.asarray(state["momenta"])[:, instance].T, reference.m, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(np.asarray(state["squares"])[:, instance].T, reference.v, rtol=1e-5, atol=1e-7)
    assert np.abs(expected - params).max() > 1e-3


def test_default_inputs_are_those_of_the_paper():
    optimizer = Mlp()
    assert optimizer.features + len(SCALES) == 31
    assert optimizer.init_weights(0)["mlp/0/matrix"].shape == (32, 31)
    assert optimizer.init_weights(0)["mlp/1/matrix"].shape == (2, 32)


def test_parameters_of_a_tensor_may_be_in_any_order_and_other_tensors_do_not_matter():
    optimizer, layout = Mlp(), Layout.of({"a": (6,), "b": (5,)})
    weights = perturbed(optimizer)
    rng = np.random.default_rng(0)
    params, gradients = rng.standard_normal((1, 11)).astype("f"), rng.standard_normal((4, 1, 11)).astype("f")
    expected = follow(optimizer, weights, params, gradients, layout)[0][-1]
    order = np.array([3, 1, 0, 5, 4, 2, 6, 7, 8, 9, 10])
    shuffled = follow(optimizer, weights, params[:, order], gradients[..., order], layout)[0][-1]
    np.testing.assert_allclose(shuffled, expected[:, order], rtol=1e-5, atol=1e-6)
    others = np.where(np.arange(11) < 6, gradients, 100 * gradients).astype("f")
    changed = follow(optimizer, weights, params, others, layout)[0][-1]
    np.testing.assert_allclose(changed[:, :6], expected[:, :6], rtol=1e-5, atol=1e-6)
    assert np.abs(changed[:, 6:] - expected[:, 6:]).max() > 1e-5


def test_normalized_steps_have_the_length_of_the_multiplier():
    optimizer = Mlp(normalize_step=True, step_multiplier=0.02, exponent_multiplier=0.0)
    params, gradients = given_run()
    points = [params, *follow(optimizer, perturbed(optimizer), params, gradients)[0]]
    moves = np.diff(np.stack(points), axis=0)
    for place in tensors_of(LAYOUT):
        np.testing.assert_allclose(np.sqrt(np.mean(moves[..., place] ** 2, axis=-1)), 0.02, rtol=1e-3)


@pytest.mark.slow
def test_untrained_steps_are_short():
    params, gradients = given_run(steps=50)
    end = follow(Mlp(), Mlp().init_weights(0), params, gradients)[0][-1]
    assert 0 < np.abs(end - params).max() < 50 * 1e-3


@pytest.mark.parametrize("normalize_step", [False, True])
def test_extreme_gradients_leave_everything_finite(normalize_step):
    check_finite(Mlp(normalize_step=normalize_step), 0.0, 1e-30, 1e30)


@pytest.mark.slow
def test_meta_gradient_equals_finite_differences():
    check_meta_gradient(Mlp(hidden=(4,), decays=(0.9, 0.99), step_multiplier=0.05, exponent_multiplier=0.5))


def test_compiled_update_equals_eager():
    optimizer = Mlp()
    weights, (params, gradients) = perturbed(optimizer), given_run(steps=1)
    state = optimizer.init_state(weights, LAYOUT, INSTANCES, seed=3)
    state = {name: leaf + np.float32(0.3) for name, leaf in state.items()}
    arguments = (weights, state, params, gradients[0], np.ones(INSTANCES, np.float32), np.array([0, 3]))
    eager = optimizer.update(*arguments, LAYOUT)
    compiled = tf.function(lambda *a: optimizer.update(*a, LAYOUT), jit_compile=True, autograph=False)(*arguments)
    assert all(np.isfinite(leaf).all() for leaf in tf.nest.flatten(compiled))
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), eager, compiled)


@pytest.mark.parametrize("options", [{"hidden": ()}, {"hidden": (0,)}, {"decays": (1.0,)}, {"step_multiplier": 0.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Mlp(**options)


@pytest.mark.slow
def test_meta_training_improves_its_start():
    options = {"step_multiplier": 0.1, "normalize_step": True}
    ratio = meta_trained_ratio("mlp", options, dimension=2, steps=20, meta_steps=60, learning_rate=0.03, xla=False)
    assert ratio < 0.3


@pytest.mark.slow
def test_meta_training_makes_it_a_hundred_times_better():
    assert meta_trained_ratio("mlp", meta_steps=600, learning_rate=6e-3) < 0.01
