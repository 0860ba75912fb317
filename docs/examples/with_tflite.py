"""Train on a small device, with TFLite and numpy alone:

l2o export --optimizer tensor_rnn --format saved_model --shapes "kernel=2x1,bias=1" --steps 200 --out served
python with_tflite.py served
"""

import sys

import numpy as np
import tensorflow as tf

converted = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1], signature_keys=["init", "update"]).convert()
# From here on a device needs no more than the interpreter and these bytes.
interpreter = tf.lite.Interpreter(model_content=converted)
init, update = (interpreter.get_signature_runner(name) for name in ("init", "update"))

rng = np.random.default_rng(0)
points = rng.standard_normal((500, 2)).astype(np.float32)
labels = (points @ [[2.0], [-1.0]] + 0.5 > 0).astype(np.float32)


def loss_and_gradients(params, x, y):
    """Logistic regression, its derivatives by hand."""
    outputs = x @ params["params_kernel"] + params["params_bias"]
    loss = np.mean(np.logaddexp(0, outputs) - y * outputs)
    errors = (1 / (1 + np.exp(-outputs)) - y) / len(x)
    return np.float32(loss), {"gradients_kernel": x.T @ errors, "gradients_bias": errors.sum(axis=0)}


params = {"params_kernel": np.zeros((2, 1), np.float32), "params_bias": np.zeros(1, np.float32)}
state = init()
for step in range(200):
    batch = rng.integers(0, len(points), 32)
    loss, gradients = loss_and_gradients(params, points[batch], labels[batch])
    new = update(**params, **gradients, **state, loss=loss, step=np.int32(step))
    params, state = {name: new[name] for name in params}, {name: new[name] for name in state}
print(f"{len(converted):,} bytes, loss {loss_and_gradients(params, points, labels)[0]:.4f}")
