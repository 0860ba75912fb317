"""Transformations of optimizers, against Keras where it has them and against numpy, around hand-designed and learned ones."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.optimizers.elementwise import Adam, Momentum, Sgd
from l2o_cli.optimizers.hierarchical_rnn import HierarchicalRNN
from l2o_cli.optimizers.imitation import Imitating
from l2o_cli.optimizers.packing import Layout
from l2o_cli.optimizers.transforms import (
    TRANSFORMS,
    Averaging,
    Clipping,
    Decay,
    LowPrecision,
    Regularization,
    Schedule,
    Transform,
    WeightDecay,
    layers,
    names_of,
)
from l2o_cli.rollout import compiled_update

LAYOUT = Layout.of({"kernel": (3, 2), "bias": (4,)})
STEPS = 8
HRNN = HierarchicalRNN(hidden=(3, 2), time_scales=2, attention=True)
# Each with options that do something in a few steps.
OPTIONS = {
    "clipping": [{"value": 0.3}, {"norm": 0.5}, {"global_norm": 0.8}, {"value": 1.0, "norm": 1.2, "global_norm": 1.5}],
    "regularization": [{"l1": 0.1, "l2": 0.3}],
    "weight_decay": [{"rate": 0.1}, {"rate": 0.1, "exclude_vectors": True}, {"rate": 0.8, "per_run": True, "steps": STEPS}],
    "decay": [{"linear": 0.05, "exponential": 0.1}],
    "schedule": [
        {"kind": kind, "warmup": 0.25, "constant": 2, "final": 0.1, "steps": STEPS} for kind in ("cosine", "exponential")
    ],
    "averaging": [{"decay": 0.7}],
    "low_precision": [{}],
    "fan_in": [{"base": 2}],
    "trust_ratio": [{"scale": 0.5, "least": 2.0}, {"normalize": True, "least": 2.0}],
    "orthogonalized": [{}],
    "adamw_for_vectors": [{"learning_rate": 0.05, "epsilon": 0.1, "weight_decay": 0.5}],
}
CASES = [(name, options) for name, every in OPTIONS.items() for options in every]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}({','.join(f'{k}={v}' for k, v in case[1].items())})")
def around(request):
    """`around(inner)`: the inner optimizer in one of the transformations."""
    name, options = request.param
    return lambda inner: TRANSFORMS[name](inner, **options)


def given(instances=1, seed=0):
    """Params [I, P] and gradients [STEPS, I, P]."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((1 + STEPS, instances, LAYOUT.parameters)).astype(np.float32)
    return values[0], values[1:]


def follow(optimizer, weights=None, instances=1, update=None, gradients=None):
    """Points of the gradients, params and states along the given gradients."""
    weights = optimizer.init_weights(0) if weights is None else weights
    params, own = given(instances)
    state = optimizer.init_state(weights, LAYOUT, instances, 0)
    points, path, states = [], [tf.constant(params)], []
    for step, gradient in enumerate(own if gradients is None else gradients):
        points.append(np.asarray(optimizer.evaluation_point(weights, state, params, LAYOUT)))
        arguments = tf.constant(params), tf.constant(gradient), tf.ones([instances]), tf.fill([instances], step)
        params, state = (update or optimizer.update)(weights, state, *arguments, LAYOUT)
        path.append(params)
        states.append(state)
    return np.stack(points), np.stack(path), states


def with_keras(optimizer, gradients=None):
    """Params [P] after each of the given gradients."""
    params, own = given()
    variables = [keras.Variable(params[0, :6].reshape(3, 2), name="kernel"), keras.Variable(params[0, 6:], name="bias")]
    optimizer.build(variables)
    path = [params[0]]
    for gradient in (own if gradients is None else gradients)[:, 0]:
        optimizer.apply([tf.constant(gradient[:6].reshape(3, 2)), tf.constant(gradient[6:])])
        path.append(np.concatenate([np.ravel(variable) for variable in variables]))
    optimizer.finalize_variable_values(variables)
    return np.stack(path), np.concatenate([np.ravel(variable) for variable in variables])


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"value": 0.3}, {"clipvalue": 0.3}),
        ({"norm": 0.5}, {"clipnorm": 0.5}),
        ({"global_norm": 0.8}, {"global_clipnorm": 0.8}),
        ({"norm": 100.0}, {}),
    ],
)
def test_clipping_is_that_of_keras(options, theirs):
    for inner, keras_class in ((Sgd(0.1), keras.optimizers.SGD), (Adam(0.1), keras.optimizers.Adam)):
        _, path, _ = follow(Clipping(inner, **options))
        np.testing.assert_allclose(path[:, 0], with_keras(keras_class(0.1, **theirs))[0], rtol=1e-5, atol=1e-5)
    plain = follow(Sgd(0.1))[1]
    assert np.allclose(follow(Clipping(Sgd(0.1), **options))[1], plain, atol=1e-3) == (not theirs)


def test_weight_decay_is_that_of_keras():
    for inner, theirs in ((Adam(0.05), keras.optimizers.AdamW), (Sgd(0.05), keras.optimizers.SGD)):
        for exclude in (False, True):
            optimizer = theirs(0.05, weight_decay=0.4)
            if exclude:
                optimizer.exclude_from_weight_decay(var_names=["bias"])
            _, path, _ = follow(WeightDecay(inner, 0.4, exclude_vectors=exclude))
            np.testing.assert_allclose(path[:, 0], with_keras(optimizer)[0], rtol=1e-5, atol=1e-5)


def test_weight_decay_around_a_learned_optimizer_takes_its_share_of_the_params():
    _, plain, _ = follow(HRNN)
    _, path, _ = follow(WeightDecay(HRNN, 0.4))
    np.testing.assert_allclose(path[1], plain[1] - 0.4 * plain[0], rtol=1e-5, atol=1e-6)


def test_weight_decay_per_run_is_divided_by_the_steps_of_the_run():
    for inner in (Adam(0.05), HRNN):
        expected = follow(WeightDecay(inner, 0.8 / STEPS))[1][:, 0]
        for optimizer in (WeightDecay(inner, 0.8, per_run=True, steps=STEPS), WeightDecay(inner, 0.8, per_run=True).over(STEPS)):
            np.testing.assert_allclose(follow(optimizer)[1][:, 0], expected, rtol=1e-6, atol=1e-7)


def test_weight_decay_per_run_goes_by_the_length_that_each_instance_is_told():
    optimizer, gradients = WeightDecay(Sgd(0.1), 0.8, per_run=True), given(3)[1]
    weights, params = optimizer.init_weights(0), given(3)[0]
    state = optimizer.with_horizons(optimizer.init_state(weights, LAYOUT, 3, 0), np.array([4, 8, 0]))
    after, _ = optimizer.update(weights, state, params, gradients[0], tf.ones([3]), tf.zeros([3], tf.int32), LAYOUT)
    shares = 0.1 * 0.8 / np.array([[4.0], [8.0], [np.inf]])  # nothing where the length is not known
    np.testing.assert_allclose(after, params - 0.1 * gradients[0] - shares * params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_a_cosine_schedule_is_that_of_keras(warmup):
    rises = round(warmup * STEPS)
    ends = (0.0, 0.05) if rises else (0.05, None)
    decay = keras.optimizers.schedules.CosineDecay(ends[0], STEPS - rises, 0.1, warmup_target=ends[1], warmup_steps=rises)
    for inner, theirs in ((Adam(0.05), keras.optimizers.Adam), (Sgd(0.05), keras.optimizers.SGD)):
        _, path, _ = follow(Schedule(inner, warmup=warmup, final=0.1, steps=STEPS))
        np.testing.assert_allclose(path[:, 0], with_keras(theirs(decay))[0], rtol=1e-5, atol=1e-5)


def test_averaging_is_the_use_ema_of_keras():
    points, path, _ = follow(Averaging(Adam(0.1), 0.7))
    own, average = with_keras(keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.7))
    np.testing.assert_allclose(points[:, 0], own[:-1], rtol=1e-5, atol=1e-5)  # gradients are taken at Adam's own params
    np.testing.assert_allclose(path[-1, 0], average, rtol=1e-5, atol=1e-5)
    assert np.abs(own[-1] - average).max() > 0.01


def expected_factor(step, kind, warmup, constant, final, drops, total):
    """The factor as the docstring has it, in float64; lengths in steps."""
    if step < warmup:
        return step / warmup
    share = min(max((step - warmup - constant) / (total - warmup - constant), 0), 1)
    return {
        "cosine": final + (1 - final) * (1 + np.cos(np.pi * share)) / 2,
        "linear": 1 + (final - 1) * share,
        "exponential": final**share,
        "step": final ** (min(int(share * (drops + 1)), drops) / drops),
        "constant": 1.0,
    }[kind]


@pytest.mark.parametrize("kind", ["cosine", "linear", "exponential", "step", "constant"])
def test_the_factors_of_a_schedule(kind):
    schedule = Schedule(Sgd(), kind=kind, warmup=0.1, constant=20, final=0.05, drops=3, steps=200)
    step = np.array([0, 1, 7, 19, 20, 21, 39, 41, 60, 79, 81, 100, 121, 140, 199, 200, 5000])
    factor = schedule.factor(schedule.init_weights(0), {}, step)
    assert factor.shape == (len(step), 1)
    expected = [expected_factor(each, kind, 20, 20, 0.05, 3, 200) for each in step]
    np.testing.assert_allclose(factor[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_the_factors_of_a_decay():
    decay = Decay(Sgd(), linear=0.01, exponential=0.02)
    step = np.array([0, 1, 50, 99, 100, 1000])
    expected = np.maximum(1 - 0.01 * step, 0) * np.exp(-0.02 * step)
    np.testing.assert_allclose(decay.factor(decay.init_weights(0), {}, step)[:, 0], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("inner", [Adam(0.1), HRNN], ids=["adam", "hrnn"])
def test_steps_are_scaled_and_so_is_attention(inner):
    schedule = Schedule(inner, kind="linear", final=0.25, steps=4)
    points, path, _ = follow(schedule)
    inner_points, inner_path, _ = follow(inner)
    factors = [expected_factor(step, "linear", 0, 0, 0.25, 1, 4) for step in range(STEPS)]
    for step, factor in enumerate(factors):
        moved = factor * (inner_path[step + 1] - inner_path[step])  # neither looks at the params
        np.testing.assert_allclose(path[step + 1] - path[step], moved, rtol=1e-4, atol=1e-6)
        if step:
            ahead = factors[step - 1] * (inner_points[step] - inner_path[step])
            np.testing.assert_allclose(points[step] - path[step], ahead, rtol=1e-4, atol=1e-6)
    assert np.any(inner_points != inner_path[:-1]) == inner.evaluates_elsewhere


def test_regularization_adds_the_derivative_where_gradients_are_taken():
    for inner in (Adam(0.1), HRNN):
        points, path, _ = follow(Regularization(inner, l1=0.2, l2=0.3))
        gradients = given()[1] + 0.2 * np.sign(points) + 2 * 0.3 * points
        np.testing.assert_allclose(path, follow(inner, gradients=gradients)[1], rtol=1e-5, atol=1e-5)


def test_clipping_around_a_learned_optimizer_is_clipped_gradients():
    gradients = given()[1]
    norms = np.linalg.norm(gradients, axis=-1, keepdims=True)
    clipped = (gradients * np.minimum(0.5 / norms, 1)).astype(np.float32)
    _, path, _ = follow(Clipping(HRNN, global_norm=0.5))
    np.testing.assert_allclose(path, follow(HRNN, gradients=clipped)[1], rtol=1e-5, atol=1e-6)
    assert not np.allclose(path, follow(HRNN)[1], atol=1e-4)


def test_every_transformation_of_the_package_is_tested():
    assert OPTIONS.keys() == TRANSFORMS.keys() - {"nominal"}  # which has tests of its own
    for name, cls in TRANSFORMS.items():
        assert issubclass(cls, Transform) and cls.name == name and cls.summary and "\n" not in cls.summary


def test_options_are_hyperparameters_around_hand_designed_optimizers_alone(around):
    optimizer = around(Adam())
    weights = optimizer.init_weights(0)
    own = weights.keys() - Adam().init_weights(0).keys()
    for name in own:
        prefix, option = name.split("/")
        assert prefix == optimizer.name and weights[name] == np.float32(getattr(optimizer, option))
    numbers = {field.name for field in dataclasses.fields(optimizer) if type(getattr(optimizer, field.name)) is float}
    assert {f"{optimizer.name}/{name}" for name in numbers} <= own
    assert not optimizer.learned

    learned = around(HRNN)
    assert learned.init_weights(3).keys() == HRNN.init_weights(3).keys()
    assert learned.learned


def test_the_inner_state_keeps_its_names(around):
    for inner in (Adam(), HRNN):
        optimizer = around(inner)
        state = optimizer.init_state(optimizer.init_weights(0), LAYOUT, 3, 0)
        names = inner.init_state(inner.init_weights(0), LAYOUT, 3, 0).keys()
        assert names <= state.keys()
        assert all(name.startswith(f"{optimizer.name}/") for name in state.keys() - names)
        assert all(len(leaf.shape) == 3 and leaf.shape[1] == 3 for leaf in state.values())
        _, _, states = follow(optimizer, gradients=given()[1][:2])
        assert {name: leaf.dtype.name for name, leaf in states[-1].items()} == {
            name: np.asarray(leaf).dtype.name for name, leaf in state.items()
        }


def test_hyperparameters_of_each_instance(around):
    optimizer = around(Adam(0.1))
    rng = np.random.default_rng(0)
    own = {name: np.float32(value * rng.uniform(0.5, 1.0, 3)) for name, value in optimizer.init_weights(0).items()}
    own["beta_2"] = np.float32([0.9, 0.99, 0.999])
    together = follow(optimizer, own, instances=3)
    for instance in range(3):
        single = {name: value[instance] for name, value in own.items()}
        alone = follow(optimizer, single, instances=3)
        for several, one in zip(together[:2], alone[:2], strict=True):
            np.testing.assert_allclose(several[:, instance], one[:, instance], rtol=1e-4, atol=1e-5)
    for name in own.keys() - Adam().init_weights(0).keys():  # each counts, and for its instance alone
        changed = follow(optimizer, {**own, name: own[name] * np.float32([1.0, 1.0, 1.5])}, instances=3)
        np.testing.assert_array_equal(changed[1][:, :2], together[1][:, :2])
        assert np.any(changed[1][:, 2] != together[1][:, 2]), name


def test_a_stack_compiled_equals_eager():
    stack = Adam(0.1)
    for name in ("regularization", "clipping", "weight_decay", "schedule", "averaging"):
        stack = TRANSFORMS[name](stack, **OPTIONS[name][-1])
    assert names_of(stack) == "adam+regularization+clipping+weight_decay+schedule+averaging"
    assert [layer.name for layer in layers(stack)] == names_of(stack).split("+")
    eager, compiled = follow(stack), follow(stack, update=compiled_update(stack))
    np.testing.assert_allclose(compiled[1], eager[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(compiled[0], eager[0], rtol=1e-5, atol=1e-5)


def test_the_first_listed_is_the_innermost():
    inside = follow(Schedule(WeightDecay(Sgd(0.1), 1.0), kind="linear", final=0.5, steps=2))[1][:, 0]
    outside = follow(WeightDecay(Schedule(Sgd(0.1), kind="linear", final=0.5, steps=2), 1.0))[1][:, 0]
    params, gradients = given()[0][0], given()[1][:, 0]
    before, after = params.copy(), params.copy()
    for step, gradient in enumerate(gradients):
        factor = expected_factor(step, "linear", 0, 0, 0.5, 1, 2)
        before, after = before - factor * 0.1 * (gradient + before), after - 0.1 * (factor * gradient + after)
    np.testing.assert_allclose(inside[-1], before, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outside[-1], after, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("inner", [Adam(), HRNN], ids=["adam", "hrnn"])
def test_extreme_gradients(around, inner):
    """No result and no derivative that is not finite, for a scalar parameter and for several."""
    optimizer = around(inner)
    weights = {name: tf.constant(value) for name, value in optimizer.init_weights(0).items()}
    for layout in (Layout.of({"x": ()}), LAYOUT):
        values = np.float32([0.0, 1e-30, -1e-30, 1e30, -1e30])
        gradients = tf.constant(np.repeat(values[:, None], layout.parameters, axis=1))
        params = tf.reshape(tf.linspace(-1.0, 1.0, tf.size(gradients)), gradients.shape)
        with tf.GradientTape() as tape:
            tape.watch((weights, gradients))
            state = optimizer.init_state(weights, layout, len(values), 0)
            there = params
            for step in range(3):
                steps = tf.fill([len(values)], step)
                there, state = optimizer.update(weights, state, there, gradients, tf.ones([len(values)]), steps, layout)
            total = tf.reduce_sum(tf.tanh(there))
        slopes = tape.gradient(total, (weights, gradients), unconnected_gradients="zero")
        for leaf in tf.nest.flatten((there, state, slopes)):
            assert np.isfinite(np.asarray(leaf, np.float32)).all()


def test_a_gradient_far_too_long_keeps_its_direction():
    layout = Layout.of({"x": (2,)})
    rule = Clipping(Sgd(1.0), norm=1.0)
    zero, gradient = np.zeros((1, 2), np.float32), np.float32([[3e12, 4e12]])
    params, _ = rule.update(rule.init_weights(0), {}, zero, gradient, None, None, layout)
    np.testing.assert_allclose(params, [[-0.6, -0.8]], rtol=1e-5)


def bfloat16(values):
    """Rounded to the nearest bfloat16, ties to even, by the bits."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def test_low_precision_rounds_the_state_to_the_nearest():
    _, path, states = follow(LowPrecision(Momentum(0.1, 0.9)))
    params, velocity = given()[0], np.float32(0)
    for step, gradient in enumerate(given()[1]):
        exact = np.float32(0.9) * velocity - np.float32(0.1) * gradient
        params, velocity = params + exact, bfloat16(exact)
        np.testing.assert_array_equal(np.asarray(states[step]["velocity"], np.float32)[0], velocity)
        np.testing.assert_allclose(path[step + 1], params, rtol=1e-6)
    assert np.any(velocity != exact)


def test_low_precision_keeps_what_it_is_told_to():
    kept = LowPrecision(Adam(0.1), keep=("square",))
    _, path, states = follow(kept)
    assert {name: leaf.dtype.name for name, leaf in states[-1].items()} == {"mean": "bfloat16", "square": "float32"}
    np.testing.assert_allclose(states[-1]["square"], follow(Adam(0.1))[2][-1]["square"], rtol=1e-6)
    all_kept = follow(LowPrecision(Adam(0.1), keep=("mean", "square")))[1]
    np.testing.assert_array_equal(all_kept, follow(Adam(0.1))[1])
    assert np.any(path != all_kept)


def test_the_length_of_a_run():
    bare = Clipping(Schedule(Adam()), norm=1.0)
    assert bare.lacks_steps and not bare.over(50).lacks_steps
    assert bare.over(50) == Clipping(Schedule(Adam(), steps=50), norm=1.0)
    assert Schedule(Adam(), steps=20).over(50) == Schedule(Adam(), steps=20)
    assert Adam().over(50) == Adam() and not Adam().lacks_steps
    assert not Schedule(Adam(), kind="constant", warmup=10).lacks_steps
    assert Schedule(Adam(), kind="constant", warmup=0.5).lacks_steps
    assert Imitating(bare, Sgd()).lacks_steps and Imitating(Sgd(), bare).over(9) == Imitating(Sgd(), bare.over(9))
    assert not Schedule(Adam(), optional=True).lacks_steps
    assert np.isfinite(follow(Schedule(Adam(), kind="constant", warmup=10))[1]).all()


def test_around_an_optimizer_alone_and_once():
    with pytest.raises(ValueError, match=r"clipping is already around 'adam\+clipping\+decay'"):
        Clipping(Decay(Clipping(Adam(), norm=1.0)), norm=2.0)
    with pytest.raises(TypeError, match="transforms an optimizer"):
        Decay("adam")


def test_a_student_may_be_transformed():
    """Imitation keeps the teacher's state beside that of the student and of what is around it."""
    imitating = Imitating(Averaging(Sgd(0.1), 0.5), Clipping(Adam(0.1), norm=0.1))
    points, path, states = follow(imitating)
    alone = follow(Averaging(Sgd(0.1), 0.5))
    np.testing.assert_array_equal(points, alone[0])
    np.testing.assert_array_equal(path, alone[1])
    assert states[-1].keys() == {"averaging/offset", "teacher/mean", "teacher/square", "distance"}


def test_each_instance_may_be_told_its_own_horizon():
    schedule = Clipping(Schedule(Sgd(0.1), kind="linear", warmup=0.25), value=9.0)
    weights, (params, gradients) = schedule.init_weights(0), np.ones((2, 3, LAYOUT.parameters), np.float32)
    state = schedule.with_horizons(schedule.init_state(weights, LAYOUT, 3, 0), np.array([4, 8, 0]))
    for step in range(6):
        new, state = schedule.update(weights, state, params, gradients, np.ones(3), np.full(3, step), LAYOUT)
        factors = [expected_factor(step, "linear", 0.25 * horizon, 0, 0.0, 1, horizon) for horizon in (4, 8)]
        np.testing.assert_allclose((params - new)[:, 0], 0.1 * np.array([*factors, 1.0]), rtol=1e-5, atol=1e-7)
    fixed = schedule.over(8)
    told = fixed.with_horizons(fixed.init_state(weights, LAYOUT, 3, 0), np.array([4, 8, 0]))
    assert not told  # what the spec says goes before what instances are told


def test_a_teacher_is_told_the_horizon_too():
    pair = Imitating(HierarchicalRNN(hidden=(3, 2, 2), run_features=True), Schedule(Sgd(0.1)))
    state = pair.with_horizons(pair.init_state(pair.init_weights(0), LAYOUT, 2, 0), np.array([4, 8]))
    for name in ("horizon", "teacher/schedule/horizon"):
        np.testing.assert_array_equal(state[name], [[[4], [8]]])
