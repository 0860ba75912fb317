"""`l2o_cli.optax`: the same steps as inside Keras on TensorFlow, and what users of optax expect of a transformation."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from l2o_cli.optax import LearnedState, learned_optimizer, params_of, scale_by_learned_optimizer

TREE = {"dense": {"kernel": (4, 3), "bias": (3,)}, "embedding": (5, 2)}


def tree(seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.standard_normal(shape), jnp.float32), TREE, is_leaf=lambda leaf: isinstance(leaf, tuple)
    )


def loss_of(params):
    hidden = jnp.tanh(params["embedding"] @ params["dense"]["kernel"][:2] + params["dense"]["bias"])
    return jnp.mean((hidden @ params["dense"]["kernel"].T - 0.3) ** 2) + 1e-3 * optax.tree.norm(params, squared=True)


def train(optimizer, params, steps=20, jit=True):
    def step(params, state):
        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(gradients, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    step = jax.jit(step) if jit else step
    state, losses = optimizer.init(params), []
    for _ in range(steps):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    return params, state, losses


def assert_close(first, second, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=rtol, atol=atol), first, second)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("adam(learning_rate=0.01)", optax.adam(0.01, eps=1e-7)),
        ("momentum(learning_rate=0.1)", optax.sgd(0.1, momentum=0.9)),
        ("adam(learning_rate=0.01)+weight_decay(rate=0.1)", None),
    ],
)
def test_hand_designed_rules_are_those_of_optax(name, theirs):
    ours = train(learned_optimizer(name), tree())
    if theirs is None:  # decoupled decay
        theirs = optax.chain(optax.scale_by_adam(eps=1e-7), optax.add_decayed_weights(0.1), optax.scale(-0.01))
    other = train(optax.with_extra_args_support(theirs), tree())
    np.testing.assert_allclose(ours[2], other[2], rtol=2e-3)
    assert ours[2][-1] < 0.9 * ours[2][0]


@pytest.mark.parametrize("name", ["tensor_rnn", "hrnn", "mlp:untrained", "hrnn(attention=true):untrained"])
def test_jit_and_eager_agree(name):
    optimizer = learned_optimizer(name, steps=100)
    ours, _, losses = train(optimizer, tree(), 3)
    theirs, _, others = train(optimizer, tree(), 3, jit=False)
    assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(losses, others, rtol=1e-4)


def test_published_optimizers_train():
    for name in ("tensor_rnn", "hrnn"):
        losses = train(learned_optimizer(name, steps=100), tree(), 100)[2]
        assert losses[-1] < 0.3 * losses[0], name


def test_learning_rate_schedule_and_weight_decay():
    plain = scale_by_learned_optimizer("hrnn")
    params, gradients = tree(), tree(1)
    step, _ = plain.update(gradients, plain.init(params), params)
    mask = {"dense": {"kernel": True, "bias": False}, "embedding": False}
    optimizer = learned_optimizer("hrnn", optax.constant_schedule(0.5), weight_decay=0.1, weight_decay_mask=mask)
    ours, _ = optimizer.update(gradients, optimizer.init(params), params)
    decayed = jax.tree.map(lambda move, value, decays: 0.5 * (move - 0.1 * value * decays), step, params, mask)
    assert_close(ours, decayed)


def test_inject_hyperparams():
    injected = optax.inject_hyperparams(learned_optimizer, static_args=("steps", "seed"))("hrnn", learning_rate=0.5)
    params, gradients = tree(), tree(1)
    state = injected.init(params)
    half, state = injected.update(gradients, state, params)
    assert float(state.hyperparams["learning_rate"]) == 0.5
    whole, _ = learned_optimizer("hrnn").update(gradients, learned_optimizer("hrnn").init(params), params)
    assert_close(half, jax.tree.map(lambda leaf: 0.5 * leaf, whole))


def test_partition_and_masked_leave_the_others_alone():
    labels = {"dense": "learned", "embedding": "fixed"}
    optimizer = optax.partition({"learned": learned_optimizer("hrnn"), "fixed": optax.set_to_zero()}, labels)
    after, *_ = train(optimizer, tree(), 5)
    np.testing.assert_array_equal(after["embedding"], tree()["embedding"])
    masked = optax.masked(learned_optimizer("hrnn"), {"dense": True, "embedding": False})
    updates, _ = masked.update(tree(1), masked.init(tree()), tree())
    np.testing.assert_array_equal(updates["embedding"], tree(1)["embedding"])
    alone, part = learned_optimizer("hrnn"), {"dense": tree()["dense"]}
    own, _ = alone.update({"dense": tree(1)["dense"]}, alone.init(part), part)
    assert_close(updates["dense"], own["dense"])


def test_in_a_chain_with_clipping():
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), learned_optimizer("tensor_rnn"))
    assert np.isfinite(train(optimizer, tree(), 5)[2]).all()


def test_the_state_is_saved_by_orbax(tmp_path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    optimizer = learned_optimizer("tensor_rnn", steps=10)
    params, state, _ = train(optimizer, tree(), 4)
    with checkpoint.StandardCheckpointer() as saver:
        saver.save(tmp_path / "state", {"params": params, "state": state})
        saver.wait_until_finished()
        like = jax.tree.map(jnp.zeros_like, {"params": params, "state": state})
        restored = saver.restore(tmp_path / "state", like)
    jax.tree.map(np.testing.assert_array_equal, restored, {"params": params, "state": state})


def test_with_attention_the_params_are_to_be_had():
    optimizer = learned_optimizer("hrnn(attention=true):untrained")
    params = tree()
    assert_close(params_of(optimizer.init(params), params), params)
    held, state, _ = train(optimizer, params, 3)
    true = params_of(state, held)
    assert (
        max(float(jnp.abs(one - two).max()) for one, two in zip(jax.tree.leaves(true), jax.tree.leaves(held), strict=True)) > 1e-6
    )
    plain = learned_optimizer("hrnn")
    assert params_of(plain.init(params), params) is params
    with pytest.raises(ValueError, match=r"attention needs learning_rate=1\.0"):
        learned_optimizer("hrnn(attention=true):untrained", 0.5)


def test_steps_that_are_not_finite_are_left_out_by_apply_if_finite():
    optimizer = optax.apply_if_finite(learned_optimizer("tensor_rnn"), max_consecutive_errors=5)
    bad = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), tree())
    state = before = optimizer.init(tree())
    updates, state = optimizer.update(bad, state, tree(), value=jnp.nan)
    assert_close(state.inner_state, before.inner_state)
    assert not any(map(jnp.any, jax.tree.leaves(updates))) and state.total_notfinite == 1


def test_bfloat16_params_have_a_float32_state():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree())
    optimizer = learned_optimizer("hrnn")
    updates, state = optimizer.update(params, optimizer.init(params), params)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(updates))
    assert all(leaf.dtype in (jnp.float32, jnp.int32) for leaf in jax.tree.leaves(state))


def test_vmap_is_as_many_runs():
    optimizer = scale_by_learned_optimizer("hrnn")
    params, gradients = (jax.tree.map(lambda *leaves: jnp.stack(leaves), tree(a), tree(b)) for a, b in ((0, 1), (2, 3)))
    states = jax.vmap(optimizer.init)(params)
    together, _ = jax.vmap(optimizer.update)(gradients, states, params)
    alone, _ = optimizer.update(tree(3), optimizer.init(tree(1)), tree(1))
    assert_close(jax.tree.map(lambda leaf: leaf[1], together), alone)


def test_faults_are_said():
    optimizer = learned_optimizer("tensor_rnn")
    params = tree()
    state = optimizer.init(params)
    with pytest.raises(ValueError, match=r"reads the loss: call update\(gradients, state, params, value=loss\)"):
        optimizer.update(params, state, params)
    with pytest.raises(ValueError, match="params"):
        optimizer.update(params, state)
    with pytest.raises(ValueError, match="steps must be a whole number above 0, not 0"):
        learned_optimizer("tensor_rnn", steps=0)
    with pytest.raises(ValueError, match="goes by the length of the run; give steps"):
        learned_optimizer("adam+schedule(kind=linear)")
    with pytest.raises(ValueError, match="with attention does not go with a mesh"):
        learned_optimizer("hrnn(attention=true):untrained", mesh=jax.make_mesh((1,), ("model",)))
    with pytest.raises(ValueError, match="one learned optimizer in it, not 0"):
        params_of(optax.adam(0.1).init(params), params)
    assert isinstance(scale_by_learned_optimizer("hrnn").init({}), LearnedState)


def test_the_example_runs():
    example = Path(__file__).parents[3] / "docs" / "examples" / "with_optax.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True)
    losses = {name: float(loss) for name, _, loss in map(str.split, done.stdout.splitlines())}
    assert losses["tensor_rnn"] < losses["adam"], done.stderr
