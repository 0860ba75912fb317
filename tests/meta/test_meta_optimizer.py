import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_cli.errors import BadInput
from l2o_cli.export.artifact import save_artifact
from l2o_cli.export.resolve import resolve
from l2o_cli.meta.meta_optimizer import WeightsInTraining, combine, learning_rate, make
from l2o_cli.optimizers.packing import Layout, pack, unpack
from l2o_cli.spec import MetaOptimizer
from l2o_cli.spec.building import make_optimizer

FIRST, SECOND = [3.0, 4.0, 0.0], [0.0, 0.0, -100.0]
INITIAL = {
    "gru/kernel": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
    "bias": np.array([0.5, -0.25], np.float32),
    "offset": np.float32(-1),
}


def title(value):
    return "-".join(str(part) for part in value.values() if not isinstance(part, dict | list)) if isinstance(value, dict) else ""


def made(ema=0.9, **spec):
    return WeightsInTraining(MetaOptimizer(**spec), ema, INITIAL)


def gradients(seed, scale=1.0):
    """Two families' meta-gradients of INITIAL, [2, 9]."""
    return tf.constant(scale * np.random.default_rng(seed).normal(size=(2, 9)), tf.float32)


def by_name(packed):
    packed = np.asarray(packed)
    return {"gru/kernel": packed[:6].reshape(2, 3), "bias": packed[6:8], "offset": packed[8]}


def combined(rows, **spec):
    return combine(MetaOptimizer(**spec), tf.constant(rows))


def test_decay_is_added_after_clipping_and_does_not_hide_that_there_is_no_gradient():
    spec = MetaOptimizer(name="keras.SGD", learning_rate=0.1, clip_norm=0.5)
    weights = WeightsInTraining(spec, 0.9, INITIAL, decay=0.2)
    assert weights.apply(tf.zeros([2, 9]), 0.1, 0).skipped
    given = gradients(0, 100.0)
    assert weights.apply(given, 0.1, 0).norm == pytest.approx(0.5)
    mean = np.mean(given, axis=0)
    entries = by_name(0.5 * mean / np.linalg.norm(mean))
    for name, value in INITIAL.items():
        np.testing.assert_allclose(weights.current[name], value - 0.1 * (entries[name] + 0.2 * value), rtol=1e-5)


def test_families_are_averaged():
    np.testing.assert_allclose(combined([FIRST, SECOND]), [1.5, 2.0, -50.0])


def test_normalized_families_weigh_the_same():
    np.testing.assert_allclose(combined([FIRST, SECOND], normalize_families=True), [0.3, 0.4, -0.5], rtol=1e-6)
    huge = [[3e30, 4e30], [0.0, 0.0]]
    np.testing.assert_allclose(combined(huge, normalize_families=True), [0.3, 0.4], rtol=1e-6)


def test_a_familys_entries_or_norm_are_clipped_or_it_is_left_out():
    np.testing.assert_allclose(combined([FIRST, SECOND], clip_value=1.0), [0.5, 0.5, -0.5])
    small = [0.3, 0.0, 0.4]
    np.testing.assert_allclose(combined([FIRST, small], clip_family_norm=1.0), [0.45, 0.4, 0.2], rtol=1e-6)
    np.testing.assert_allclose(combined([FIRST, SECOND], discard_norm=10.0), [1.5, 2.0, 0.0])


def test_a_huge_mean_does_not_overflow():
    np.testing.assert_allclose(combined([[3e38], [3e38], [3e38]]), [3e38], rtol=1e-6)


def test_the_mean_is_clipped_by_its_norm():
    training = made(name="keras.SGD", clip_norm=1.0)
    gradient = np.full((1, 9), 2.0, np.float32)
    applied = training.apply(tf.constant(gradient), 1.0, 0)
    assert applied.norm == pytest.approx(1.0) and not applied.skipped
    np.testing.assert_allclose(training.current["bias"], INITIAL["bias"] - 1 / 3, rtol=1e-6)
    assert training.apply(tf.constant(gradient / 10), 1.0, 1).norm == pytest.approx(0.6)


def test_the_mean_is_clipped_at_a_multiple_of_its_running_rms():
    training = made(name="keras.SGD", clip_running_rms=3.0)
    before, squares, weights = INITIAL["offset"], [], []
    for step, norm in enumerate([0.5, 1.0, 30.0, 1e4, 0.0, 2.0]):
        gradient = np.zeros((1, 9), np.float32)
        gradient[0, 8] = norm
        applied = training.apply(tf.constant(gradient), 1.0, step)
        if norm == 0:
            assert applied.skipped
            continue
        bound = 3 * np.sqrt(np.average(squares, weights=weights)) if squares else np.inf
        expected = min(norm, bound)
        assert applied.norm == pytest.approx(expected, rel=1e-6)
        after = float(training.current["offset"])
        assert before - after == pytest.approx(expected, rel=1e-5)
        # A norm counts for 0.99 as much as the one after it, as it was clipped.
        before, squares, weights = after, [*squares, expected**2], [0.99 * weight for weight in weights] + [1.0]


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_without_a_usable_meta_gradient_nothing_moves(bad):
    training = made(name="adamw", weight_decay=0.1, clip_running_rms=10)
    training.apply(gradients(0), 0.1, 0)
    before = training.snapshot()
    rows = np.zeros((2, 9), np.float32)
    rows[0, 3] = bad
    applied = training.apply(tf.constant(rows), 0.1, 1)
    assert applied.skipped
    assert_same(training.snapshot(), before)


def assert_same(snapshot, other):
    assert snapshot.keys() == other.keys()
    for name, leaf in snapshot.items():
        np.testing.assert_array_equal(leaf, other[name], err_msg=name)


def rates(spec, meta_steps, *at):
    return pytest.approx([learning_rate(spec, step, meta_steps) for step in at], rel=1e-12)


def scheduled(**schedule):
    return MetaOptimizer(learning_rate=2.0, schedule=schedule)


def test_schedules():
    assert rates(MetaOptimizer(learning_rate=0.5), 100, 0, 77) == [0.5, 0.5]
    assert rates(scheduled(kind="constant", warmup=4), 100, 0, 1, 3, 4, 99) == [0.5, 1.0, 2.0, 2.0, 2.0]
    warm = {"warmup": 10, "final": 0.2}
    assert rates(scheduled(kind="cosine", **warm), 110, 0, 9, 60, 110) == [0.2, 2.0, 1.2, 0.4]
    assert rates(scheduled(kind="cosine", **warm), 110, 35) == [2 * (0.2 + 0.8 * (0.5 + 0.5 * np.sqrt(0.5)))]
    assert rates(scheduled(kind="linear", **warm), 110, 4, 10, 60, 110, 200) == [1.0, 2.0, 1.2, 0.4, 0.4]
    decay = scheduled(kind="exponential", warmup=10, final=0.01)
    assert rates(decay, 110, 4, 10, 60, 110) == [1.0, 2.0, 0.2, 0.02]
    assert learning_rate(decay, 31, 110) / learning_rate(decay, 30, 110) == pytest.approx(0.01 ** (1 / 100))
    piecewise = scheduled(kind="piecewise", warmup=2, boundaries=[3, 5], factors=[1, 0.5, 0.1])
    assert rates(piecewise, 9, 0, 1, 2, 3, 4, 5, 8) == [1.0, 2.0, 2.0, 1.0, 1.0, 0.2, 0.2]


def test_the_factor_of_a_stage_multiplies_the_schedule():
    stages = [{"learning_rate_factor": 0.5}, {"meta_step": 50, "learning_rate_factor": 3}]
    spec = MetaOptimizer(learning_rate=1.0, schedule={"kind": "linear", "final": 0.0}, stages=stages)
    assert rates(spec, 100, 0, 49, 50, 75) == [0.5, 0.255, 1.5, 0.75]


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        ({"name": "adam"}, lambda: keras.optimizers.Adam(0.1, epsilon=1e-8)),
        ({"name": "adam", "beta_1": 0.5}, lambda: keras.optimizers.Adam(0.1, beta_1=0.5, epsilon=1e-8)),
        ({"name": "adamw", "weight_decay": 0.01}, lambda: keras.optimizers.AdamW(0.1, weight_decay=0.01, epsilon=1e-8)),
        ({"name": "rmsprop"}, lambda: keras.optimizers.RMSprop(0.1, rho=0.9, epsilon=1e-8)),
        ({"name": "keras.Lion", "options": {"beta_1": 0.8}}, lambda: keras.optimizers.Lion(0.1, beta_1=0.8)),
        (
            {"name": "keras.SGD", "options": {"momentum": 0.9, "nesterov": True}},
            lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        ),
        ({"name": "keras.Nadam"}, lambda: keras.optimizers.Nadam(0.1)),
        ({"name": "keras.Muon"}, lambda: keras.optimizers.Muon(0.1)),
        ({"name": "learned", "checkpoint": "adam"}, lambda: keras.optimizers.Adam(0.001 * 0.1, epsilon=1e-8)),
    ],
    ids=title,
)
def test_updates_are_those_of_keras_and_the_average_is_exponential(spec, reference):
    training, reference = made(**spec), reference()
    twins = {name: keras.Variable(value, name=name.replace("/", "_")) for name, value in INITIAL.items()}
    average = dict(INITIAL)
    for step in range(5):
        rows = gradients(step)
        training.apply(rows, 0.1, step)
        mean = by_name(np.mean(rows, axis=0))
        reference.apply_gradients([(tf.constant(mean[name]), twin) for name, twin in twins.items()])
        average = {name: 0.9 * average[name] + 0.1 * np.asarray(twins[name]) for name in twins}
    for name, twin in twins.items():
        assert not np.array_equal(twin, INITIAL[name])
        np.testing.assert_allclose(training.current[name], twin, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(training.average[name], average[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_learned_optimizer_moves_the_weights_as_its_update_says():
    full, half = made(name="learned", checkpoint="hrnn"), made(name="learned", checkpoint="hrnn")
    loaded = resolve("hrnn")
    layout = Layout.of({name: np.shape(value) for name, value in INITIAL.items()})
    params = pack({name: value[None] for name, value in INITIAL.items()}, layout)
    rule, ones = loaded.optimizer, np.ones(1, np.float32)
    state = rule.init_state(loaded.weights, layout, 1, 0)
    for step in range(3):
        rows = gradients(step)
        rate = MetaOptimizer(name="learned", checkpoint="hrnn").learning_rate
        full.apply(rows, rate, step)
        mean = np.mean(rows, axis=0, keepdims=True)
        params, state = rule.update(loaded.weights, state, params, mean, ones, np.array([step], np.int32), layout)
        for name, value in unpack(params, layout).items():
            np.testing.assert_allclose(full.current[name], value[0], rtol=1e-5, atol=1e-6)
        if step == 0:
            half.apply(rows, 0.5, step)
            for name, value in unpack(params, layout).items():
                assert not np.array_equal(value[0], INITIAL[name])
                np.testing.assert_allclose(half.current[name], (value[0] + INITIAL[name]) / 2, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_a_learned_meta_optimizer_is_named():
    with pytest.raises(BadInput, match=r"^meta_optimizer.checkpoint: unknown optimizer 'hrnm'; did you mean 'hrnn'"):
        make(MetaOptimizer(name="learned", checkpoint="hrnm"))


def test_an_optimizer_with_attention_cannot_be_one(tmp_path):
    attentive = make_optimizer("hrnn", {"attention": True, "hidden": [2]})
    save_artifact(tmp_path / "attentive", attentive, attentive.init_weights(0), {})
    with pytest.raises(BadInput, match=r"^meta_optimizer.checkpoint: .*attention"):
        make(MetaOptimizer(name="learned", checkpoint=str(tmp_path / "attentive")))


def test_an_optimizer_that_reads_the_loss_cannot_be_one():
    with pytest.raises(BadInput, match=r"^meta_optimizer.checkpoint: 'lstm_mlp:untrained' reads the loss"):
        make(MetaOptimizer(name="learned", checkpoint="lstm_mlp:untrained"))
    assert not make(MetaOptimizer(name="learned", checkpoint="lstm_mlp(losses=none):untrained")).reads_loss


STAGES = [{"trainable": ["bias"]}, {"meta_step": 2}, {"meta_step": 4, "frozen": ["gru/*"]}, {"meta_step": 6}]


@pytest.mark.parametrize("kind", [{"name": "adamw", "weight_decay": 0.1}, {"name": "learned", "checkpoint": "hrnn"}], ids=title)
def test_frozen_weights_stay_exactly_with_their_averages_and_moments(kind):
    training, before = made(**kind, stages=STAGES), None
    moving = [{"bias"}] * 2 + [set(INITIAL)] * 2 + [{"bias", "offset"}] * 2 + [set(INITIAL)]
    for step, names in enumerate(moving):
        before, leaves = training.current, training.snapshot()
        training.apply(gradients(step), 0.1, step)
        for name in INITIAL:
            assert np.array_equal(training.current[name], before[name]) == (name not in names)
            if step < 2 and name not in names:
                np.testing.assert_array_equal(training.average[name], INITIAL[name])
        changed = [name for name, leaf in training.snapshot().items() if not np.array_equal(leaf, leaves[name])]
        # The weights are three groups: those that start late, the bias, and the kernel that rests in between.
        assert len({name.split("/")[1] for name in changed if name.startswith("meta_optimizer/")}) == len(names)


def test_a_weight_goes_on_after_a_rest_as_if_none_had_been():
    training, reference = made(stages=STAGES), keras.optimizers.Adam(0.1, epsilon=1e-8)
    twin = keras.Variable(INITIAL["gru/kernel"])
    for step in range(8):
        rows = gradients(step)
        training.apply(rows, 0.1, step)
        if step in (2, 3, 6, 7):
            reference.apply_gradients([(tf.constant(by_name(np.mean(rows, axis=0))["gru/kernel"]), twin)])
    np.testing.assert_allclose(training.current["gru/kernel"], twin, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "adam", "clip_running_rms": 1.0},
        {"name": "adamw", "weight_decay": 0.1, "stages": STAGES},
        {"name": "rmsprop"},
        {"name": "keras.Nadam"},
        {"name": "keras.ScheduleFreeAdamW"},
        {"name": "learned", "checkpoint": "hrnn", "clip_running_rms": 1.0},
    ],
    ids=title,
)
def test_a_snapshot_restores_everything_to_the_bit(spec):
    first, second = made(**spec), made(**spec)
    for step in range(3):
        first.apply(gradients(step, 10.0**step), 0.1, step)
    snapshot = first.snapshot()
    second.restore(snapshot)
    assert_same(second.snapshot(), snapshot)
    for step in range(3, 6):
        applied = [training.apply(gradients(step, 10.0**step), 0.1, step) for training in (first, second)]
        assert applied[0] == applied[1]
    assert_same(first.snapshot(), second.snapshot())
    assert not np.array_equal(first.current["bias"], snapshot["weights/bias"])
