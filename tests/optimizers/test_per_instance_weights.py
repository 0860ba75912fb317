"""Weights with the instance axis in front: each instance as if it ran alone with its own."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers.adafactor_mlp import AdafactorMlp
from l2o_cli.optimizers.base import per_instance
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.learned_hyperparameters import LearnedAdam, LearnedRate, LearnedSchedule
from l2o_cli.optimizers.lstm import Lstm
from l2o_cli.optimizers.lstm_mlp import LstmMlp
from l2o_cli.optimizers.mlp import Mlp
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.recurrent import matmul
from l2o_cli.optimizers.rnnprop import RnnProp
from l2o_cli.optimizers.tensor_rnn import TensorRnn
from l2o_cli.optimizers.transforms.nominal import Nominal

LAYOUT = Layout.of({"kernel": (3, 2), "bias": (4,), "scale": (1,)})
INSTANCES, STEPS = 2, 2
VARIANTS = {
    "three levels": {"hidden": (5, 4, 3)},
    "two levels": {"hidden": (5, 4)},
    "parameter level alone": {"hidden": (5,)},
    "attention": {"hidden": (5, 4, 3), "attention": True, "rate_change_limit": 1.0},
    "rates of tensors": {
        "hidden": (3, 4, 3),
        "rate_level": "tensor",
        "momentum_shortcut": True,
        "tensor_features": True,
        "run_features": True,
    },
    "no dynamic scaling, no shortcut": {"hidden": (5, 4), "dynamic_scaling": False, "gradient_shortcut": False},
}

OPTIMIZERS = {title: HierarchicalRNN(**options) for title, options in VARIANTS.items()} | {
    "lstm": Lstm(units=3, learned_initial_state=True),
    "rnnprop": RnnProp(units=3, preprocessing_units=2),
    "lstm_mlp": LstmMlp(hidden=(4, 3), units=3, values=2, decays=(0.9,), step_multiplier=1.0),
    "mlp": Mlp(hidden=(5, 4), decays=(0.9, 0.99), step_multiplier=0.3, exponent_multiplier=0.5),
    "adafactor_mlp": AdafactorMlp(step_multiplier=0.3, exponent_multiplier=0.5),
    "adafactor_mlp, normalized": AdafactorMlp(hidden=(5,), normalize_step=True, step_multiplier=0.3, exponent_multiplier=0.5),
    "tensor_rnn": TensorRnn(hidden=(4, 3), momentum_decays=(0.7, 0.95), initial_rate=0.1),
    "learned rate": LearnedRate(),
    "learned Adam": LearnedAdam(initial_epsilon=0.1),
    "learned schedule": LearnedSchedule(knots=3, last_step=STEPS - 1),
    "nominal": Nominal(HierarchicalRNN(hidden=(5, 4)), initial_rate=0.1, initial_gain=0.5),
    "nominal momentum": Nominal(LearnedAdam(), "momentum", precondition="normalized", initial_rate=0.1, initial_gain=0.5),
}


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS)
def optimizer(request):
    return request.param


def own_weights(optimizer):
    """Noise around the initial weights, each leaf [I, *shape]."""
    rng = np.random.default_rng(0)
    shared = optimizer.init_weights(0)
    shapes = {name: (INSTANCES, *np.shape(value)) for name, value in shared.items()}
    return {name: tf.constant(value + 0.2 * rng.standard_normal(shapes[name]), tf.float32) for name, value in shared.items()}


def given_run():
    rng = np.random.default_rng(1)
    return rng.standard_normal((1 + STEPS, INSTANCES, LAYOUT.parameters)).astype(np.float32)


def run(optimizer, weights, chosen):
    """Where the instances `chosen` (a slice) come to after the given gradients: evaluation points, params, state; a flat list."""
    params, *gradients = given_run()[:, chosen]
    state = optimizer.init_state(weights, LAYOUT, INSTANCES, seed=3)
    state = {name: leaf[:, chosen] for name, leaf in state.items()}
    state = optimizer.refresh_state(weights, state, np.ones(len(params), bool))
    points = []
    for step, gradient in enumerate(gradients):
        points.append(optimizer.evaluation_point(weights, state, params, LAYOUT)[None])
        steps = np.full(len(params), step)
        loss = gradient[:, :2].T if optimizer.reads_validation_loss else gradient[:, 0]
        params, state = optimizer.update(weights, state, params, gradient, loss, steps, LAYOUT)
    return [*points, params[None], *state.values()]


def differentiated(optimizer, weights, chosen):
    """The run, and the gradient of a sum in which every number it ends with counts differently."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        leaves = run(optimizer, weights, chosen)
        total = tf.add_n([tf.reduce_sum(tf.sin(leaf * (1.0 + index))) for index, leaf in enumerate(leaves)])
    return leaves, tape.gradient(total, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def test_own_weights_equal_each_instance_alone(optimizer):
    weights = own_weights(optimizer)
    leaves, gradient = differentiated(optimizer, weights, slice(None))
    for instance in range(INSTANCES):
        own = {name: value[instance] for name, value in weights.items()}
        alone, alone_gradient = differentiated(optimizer, own, slice(instance, instance + 1))
        for together, single in zip(leaves, alone, strict=True):
            assert np.isfinite(single).all()  # two NaNs would count as equal
            np.testing.assert_allclose(together[:, instance : instance + 1], single, rtol=1e-4, atol=1e-5)
        for name, entry in alone_gradient.items():
            assert gradient[name].shape == (INSTANCES, *entry.shape)
            np.testing.assert_allclose(gradient[name][instance], entry, rtol=1e-3, atol=1e-4, err_msg=name)
            assert np.isfinite(entry).all() and np.any(entry != 0), name


def test_equal_rows_equal_shared_weights(optimizer):
    shared = {name: value[0] for name, value in own_weights(optimizer).items()}
    rows = {name: tf.stack([value] * INSTANCES) for name, value in shared.items()}
    mixed = {name: (rows if index % 2 else shared)[name] for index, name in enumerate(shared)}
    expected = run(optimizer, shared, slice(None))
    for weights in (rows, mixed):
        for together, leaf in zip(run(optimizer, weights, slice(None)), expected, strict=True):
            np.testing.assert_allclose(together, leaf, rtol=1e-4, atol=1e-5)


def test_initial_states_are_read_from_each_instances_weights():
    optimizer = HierarchicalRNN(hidden=(5, 4, 3))
    weights = own_weights(optimizer)
    state = optimizer.init_state(weights, LAYOUT, INSTANCES, seed=0)
    for level, learned in ((level, weights[f"{level}/initial"]) for level in ("parameter", "tensor", "global")):
        expected = np.broadcast_to(np.moveaxis(learned[..., 0], 0, 1), state[level].shape)
        np.testing.assert_array_equal(state[level], expected)
    old = {name: np.zeros_like(leaf) for name, leaf in state.items()}
    refreshed = optimizer.refresh_state(weights, old, np.array([True, False]))
    np.testing.assert_array_equal(refreshed["tensor"][:, ::2], np.asarray(state["tensor"])[:, ::2])
    assert not np.any(refreshed["tensor"][:, 1])


def test_matrices_of_each_instance():
    rng = np.random.default_rng(0)
    matrices, values = rng.standard_normal((3, 4, 5)).astype(np.float32), rng.standard_normal((5, 3, 6)).astype(np.float32)
    expected = np.stack([matrix @ values[:, index] for index, matrix in enumerate(matrices)], axis=1)
    np.testing.assert_allclose(matmul(matrices, values), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(matmul(matrices[0], values)[:, 0], expected[:, 0], rtol=1e-5, atol=1e-5)


def test_shapes_that_broadcast():
    shapes = {(): (), (3,): (3, 1), (7, 1, 1): (7, 1, 1), (3, 7, 1, 1): (7, 3, 1)}
    assert {shape: per_instance(np.zeros(shape)).shape for shape in shapes} == shapes
