"""`l2o_cli.torch` on a network of 26 million parameters: a Keras model, which on PyTorch is a module of PyTorch's."""

import pytest
import torch

from l2o_cli.torch import LearnedOptimizer  # before Keras, which it puts on PyTorch
from tests import resnet


@pytest.mark.slow
def test_a_large_network_trains():
    model, images, labels = resnet.made()
    assert isinstance(model, torch.nn.Module)
    named = [(variable.path, variable.value) for variable in model.trainable_variables]
    optimizer = LearnedOptimizer(named, "tensor_rnn", steps=resnet.STEPS)
    before, losses = resnet.values(model), []
    for _ in range(resnet.STEPS):
        optimizer.zero_grad()
        loss = resnet.loss_of(torch.tensor(labels), model(torch.tensor(images), training=True))
        loss.backward()
        optimizer.show_loss(loss)
        optimizer.step()
        losses.append(loss.item())
    (run,) = optimizer.state_dict()["learned"]["runs"]
    resnet.check(before, resnet.values(model), losses, {name: tuple(leaf.shape) for name, leaf in run["state"].items()})
