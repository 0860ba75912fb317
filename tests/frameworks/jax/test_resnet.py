"""`l2o_cli.optax` on a network of 26 million parameters."""

import jax
import numpy as np
import optax
import pytest

from l2o_cli.optax import learned_optimizer
from tests import resnet


@pytest.mark.slow
def test_a_large_network_trains():
    model, images, labels = resnet.made()
    others = [variable.value for variable in model.non_trainable_variables]
    optimizer = learned_optimizer("tensor_rnn", steps=resnet.STEPS)
    paths = [variable.path for variable in model.trainable_variables]
    params = {variable.path: variable.value for variable in model.trainable_variables}
    before = jax.tree.map(np.array, params)

    def objective(params, others):
        logits, others = model.stateless_call([params[path] for path in paths], others, images, training=True)
        return resnet.loss_of(labels, logits), others

    @jax.jit
    def step(params, others, state):
        (loss, others), gradients = jax.value_and_grad(objective, has_aux=True)(params, others)
        updates, state = optimizer.update(gradients, state, params, value=loss)
        return optax.apply_updates(params, updates), others, state, loss

    state, losses = optimizer.init(params), []
    for _ in range(resnet.STEPS):
        params, others, state, loss = step(params, others, state)
        losses.append(float(loss))
    (learned,) = state
    resnet.check(before, jax.tree.map(np.array, params), losses, {name: leaf.shape for name, leaf in learned.rule.items()})
