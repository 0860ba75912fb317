"""`LearnedOptimizer` in TensorFlow's MirroredStrategy: two devices make the steps of one, and keep the same bits."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ON_TWO = """
import json, sys
import tensorflow as tf
devices = 2 * [tf.config.LogicalDeviceConfiguration()]
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
import keras
import numpy as np
from l2o_cli import LearnedOptimizer

rng = np.random.default_rng(0)
x = rng.standard_normal((64, 5)).astype(np.float32)
y = np.sin(x[:, :2])


def run(strategy, optimizer, options):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(2)])
        model.compile(LearnedOptimizer(optimizer, steps=8, **options), "mse")
    history = model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0).history
    variables = [*model.trainable_variables, *model.optimizer.variables]
    copies = [strategy.experimental_local_results(variable.value) for variable in variables]
    alike = all(np.array_equal(copy.numpy(), own[0].numpy()) for own in copies for copy in own)
    made = int(model.optimizer.iterations.numpy())
    return {"losses": history["loss"], "copies": len(copies[0]), "alike": alike, "iterations": made}


one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
print(json.dumps([[run(strategy, *each) for strategy in (one, two)] for each in json.loads(sys.argv[1])]))
"""
# A rule that reads the loss and has states of tensors and of all; and all that is done around a rule.
EACH = (
    ("tensor_rnn", {}),
    ("adam(learning_rate=0.05)", {"skip_nonfinite": True, "clipnorm": 1.0, "weight_decay": 0.01, "learning_rate": 0.5}),
)


def test_two_devices_make_the_steps_of_one():
    command = [sys.executable, "-c", ON_TWO, json.dumps(EACH)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stderr
    for (_, options), (one, two) in zip(EACH, json.loads(result.stdout.splitlines()[-1]), strict=True):
        assert (one["copies"], two["copies"]) == (1, 2) and two["alike"]
        assert one["iterations"] == two["iterations"] == 8
        assert two["losses"][-1] < two["losses"][0]
        if "clipnorm" not in options:  # which Keras applies to each replica's gradients
            np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
