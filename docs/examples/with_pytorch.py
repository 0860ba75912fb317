"""Train an MLP in PyTorch with a learned optimizer from l2o, beside Adam: python with_pytorch.py"""

import math

import torch

from l2o_cli.torch import LearnedOptimizer  # before Keras, which it puts on PyTorch

STEPS = 300
torch.manual_seed(0)
angle = torch.rand(2000) * 3 * math.pi
side = torch.randint(0, 2, (2000,))  # which of two spirals
points = torch.stack([torch.cos(angle + math.pi * side), torch.sin(angle + math.pi * side)], 1) * angle[:, None] / 6


def train(make_optimizer):
    torch.manual_seed(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2)
    )
    optimizer = make_optimizer(model)
    for batch in torch.randint(0, len(points), (STEPS, 64)):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(points[batch]), side[batch])
        loss.backward()
        if hasattr(optimizer, "show_loss"):
            optimizer.show_loss(loss)
        optimizer.step()
    return torch.nn.functional.cross_entropy(model(points), side).item()


OPTIMIZERS = {
    "tensor_rnn": lambda model: LearnedOptimizer(model.named_parameters(), "tensor_rnn", steps=STEPS),
    "adam": lambda model: torch.optim.Adam(model.parameters(), lr=1e-2),
}
for name, make_optimizer in OPTIMIZERS.items():
    print(f"{name:12s} loss {train(make_optimizer):.4f}")
