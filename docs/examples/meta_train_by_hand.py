"""Meta-training by hand: what `l2o meta-train` does, as a program of a hundred lines that is yours to change.

Run it with `python docs/examples/meta_train_by_hand.py`; it takes about a minute on two cores.
"""

import keras
import numpy as np
import tensorflow as tf
from l2o_problems.classifiers import ClusterMlp

from l2o_cli.optimizers import Adam, RnnProp
from l2o_cli.rollout import Rollout, Stepping, backpropagation, start

TRUNCATION = 20  # inner steps for one meta-gradient
HORIZON = 200  # inner steps from a fresh start to the next one
INSTANCES = 8  # tasks that are trained at once
RATES = [10.0**exponent for exponent in (-3, -2.5, -2, -1.5, -1)]  # that Adam may try

# 1. A problem. Each instance draws data of its own: six clusters in 20 dimensions, told apart by 16 hidden units.
problem = ClusterMlp(hidden=(16,), inputs=20, classes=6, batch_size=32, activation="leaky_relu")

# 2. An optimizer: an LSTM for each parameter. It is a pure function, and its weights are what we meta-train.
optimizer = RnnProp()


def objective(losses, carry):
    """The mean of log(loss / initial loss) over a truncation, for each instance; less is better.

    Args:
        losses: [TRUNCATION, 1, INSTANCES], the loss before each step.
        carry: all that the runs are after the last step.
    """
    return tf.reduce_mean(tf.math.log((losses[:, 0] + 1e-4) / (carry.initial_loss + 1e-4)), axis=0)


# 3. A meta-gradient: run TRUNCATION steps, and differentiate the objective with respect to the weights.
@tf.function(jit_compile=True)
def meta_gradient(weights, carry):
    stepping = Stepping(problem, optimizer)
    gradient, values, after = backpropagation(stepping, weights, carry, TRUNCATION, TRUNCATION, objective)
    return gradient, tf.reduce_mean(values), after


def clipped(gradient, norm):
    """A meta-gradient may explode where a run is chaotic. No step of ours does."""
    leaves = tf.nest.flatten(gradient)
    leaves = [tf.where(tf.math.is_finite(leaf), leaf, 0.0) for leaf in leaves]
    return tf.nest.pack_sequence_as(gradient, tf.clip_by_global_norm(leaves, norm)[0])


# 4. A meta-optimizer follows the meta-gradients. After each HORIZON all instances are drawn anew.
def meta_train(restarts):
    variables = {name: keras.Variable(value) for name, value in optimizer.init_weights(seed=0).items()}
    meta_optimizer = keras.optimizers.Adam(3e-3, beta_1=0.8)
    for restart in range(restarts):
        carry, values = start(problem, optimizer, frozen(variables), restart, INSTANCES), []
        for _ in range(HORIZON // TRUNCATION):
            gradient, value, carry = meta_gradient(frozen(variables), carry)
            shares = clipped(gradient, norm=1.0)
            meta_optimizer.apply([shares[name] for name in variables], list(variables.values()))
            values.append(float(value))
        if restart % 10 == 0:
            print(f"restart {restart:3d}: mean log(loss / initial loss) {np.mean(values):.2f}")
    return frozen(variables)


def frozen(variables):
    return {name: tf.convert_to_tensor(variable) for name, variable in variables.items()}


# 5. An evaluation, on tasks that meta-training has not drawn. One seed is the same tasks for every optimizer.
def final_loss(optimizer, *candidates, steps=300, seed=12345):
    """The median final loss on 5 tasks with the best of the candidate weights."""
    rollout = Rollout(problem, optimizer, maximum=steps)  # compiled once for all candidates
    finals = []
    for weights in candidates:
        _, losses = rollout(weights, rollout.start(weights, seed, instances=5), steps)  # [steps, 5]
        final = np.mean(losses[-steps // 20 :], axis=0)  # NaN for a run that diverged
        finals.append(np.median(np.where(np.isnan(final), np.inf, final)))
    return min(finals)


def main(restarts=40):
    trained = meta_train(restarts)
    adam = [Adam(learning_rate=rate).init_weights(seed=0) for rate in RATES]
    losses = {
        "rnnprop before meta-training": final_loss(optimizer, optimizer.init_weights(seed=0)),
        "rnnprop after it": final_loss(optimizer, trained),
        f"adam, best of {len(RATES)} rates": final_loss(Adam(), *adam),
    }
    for name, loss in losses.items():
        print(f"{name:32} {loss:.4g}")
    return losses


if __name__ == "__main__":
    main()
