"""`l2o_cli.torch` under DistributedDataParallel: two processes make the steps of one, and keep the same bits."""

import os

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from l2o_cli.torch import LearnedOptimizer  # before Keras, which it puts on PyTorch

STEPS = 8


def train(rank, processes, name, folder):
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal((STEPS, 16, 5)), dtype=torch.float32)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    if processes > 1:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/{name}.store", rank=rank, world_size=processes)
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = LearnedOptimizer(model.parameters(), name, steps=STEPS)
    losses = []
    for batch in x:
        own = batch[rank::processes]
        optimizer.zero_grad()
        loss = ((model(own) - torch.sin(own[:, :2])) ** 2).mean()
        loss.backward()
        optimizer.show_loss(loss)
        optimizer.step()
        losses.append(loss.item())
    params = torch.cat([param.detach().flatten() for param in model.parameters()]).numpy()
    np.savez(os.path.join(folder, f"{name}-{processes}-{rank}.npz"), params=params, losses=losses)
    if processes > 1:
        distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["tensor_rnn", "hrnn"])
def test_two_processes_make_the_steps_of_one(name, tmp_path):
    train(0, 1, name, tmp_path)
    multiprocessing.spawn(train, (2, name, tmp_path), nprocs=2)
    one, first, second = (np.load(tmp_path / f"{name}-{which}.npz") for which in ("1-0", "2-0", "2-1"))
    np.testing.assert_array_equal(first["params"], second["params"])
    np.testing.assert_allclose(first["params"], one["params"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose((first["losses"] + second["losses"]) / 2, one["losses"], rtol=1e-4)
