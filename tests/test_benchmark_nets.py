"""`l2o bench --net`: whole steps of a network, each optimizer in a process of its own."""

import json

import pytest

from l2o_cli.benchmark import nets


@pytest.mark.slow
@pytest.mark.parametrize("net", nets.NETS)
def test_every_network_trains(net):
    row = nets.train(net, 2, "tensor_rnn")
    assert row["parameters"] > 10e6 and row["last_loss"] < row["first_loss"]


def test_a_row_for_adam_and_for_each_optimizer(monkeypatch, l2o):
    def made(command, **options):
        assert options["env"]["KERAS_BACKEND"] == "jax"
        optimizer = command[-1]
        row = {"optimizer": optimizer, "parameters": 10, "milliseconds": 2.0 if optimizer == "adam" else 3.0}
        row |= {"device": "a GPU", "first_call_seconds": 1.0, "peak_gigabytes": 0.5, "first_loss": 2.0, "last_loss": 1.0}
        return nets.subprocess.CompletedProcess(command, 0, f"noise\n{json.dumps(row)}\n", "")

    monkeypatch.setattr(nets.subprocess, "run", made)
    arguments = ("bench", "--net", "gpt", "--batch", 4, "-o", "hrnn", "--backend", "jax")
    rows = json.loads(l2o(*arguments, "--json").stdout)
    assert [(row["optimizer"], row["adams"], row["batch"]) for row in rows] == [("adam", 1.0, 4), ("hrnn", 1.5, 4)]
    assert l2o(*arguments).stdout.startswith("device: a GPU\ngpt, 10 parameters, minibatches of 4, Keras on jax\n")
    assert "exclude each other" in l2o(*arguments, "--sweep").stderr


def test_a_process_that_fails_is_said(monkeypatch, l2o):
    failed = nets.subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: no\n")
    monkeypatch.setattr(nets.subprocess, "run", lambda *arguments, **options: failed)
    assert "error: gpt with adam: ValueError: no" in l2o("bench", "--net", "gpt").stderr
    assert "'nosuch'" in l2o("bench", "--net", "gpt", "-o", "nosuch").stderr
    for option, value in (("--optimizer", "hrnn"), ("--batch", 32), ("--backend", "jax")):
        assert l2o("bench", option, value).stderr == f"l2o: error: {option} goes with --net\n"
