"""`l2o_cli.torch`: the steps of PyTorch's own optimizers, and what its users expect of one."""

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from l2o_cli.torch import LearnedOptimizer  # before Keras, which it puts on PyTorch

SHAPES = {"kernel": (4, 3), "bias": (3,), "embedding": (5, 4)}


def parameters(seed=0, dtype=torch.float32, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return {name: torch.nn.Parameter(torch.tensor(rng.standard_normal(shape), dtype=dtype)) for name, shape in shapes.items()}


def loss_of(params):
    hidden = torch.tanh(params["embedding"] @ params["kernel"] + params["bias"])
    return ((hidden @ params["kernel"].T - 0.3) ** 2).mean() + 1e-3 * sum((param**2).sum() for param in params.values())


def train(params, optimizer, steps=20):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(params)
        loss.backward()
        if hasattr(optimizer, "show_loss"):
            optimizer.show_loss(loss)
        optimizer.step()
        losses.append(loss.item())
    return losses


def values(params):
    return np.concatenate([param.detach().float().numpy().ravel() for param in params.values()])


def test_steps_that_are_not_finite_are_left_out():
    first, second = parameters(), parameters()
    expected = train(first, LearnedOptimizer(first.values(), "tensor_rnn", 0.5, 0.01), 3)
    optimizer = LearnedOptimizer(second.values(), "tensor_rnn", 0.5, 0.01, skip_nonfinite=True)
    found = []
    for bad in (True, False, True, False, False):
        if bad:
            sum(param.sum() * torch.nan for param in second.values()).backward()
            optimizer.show_loss(1.0)
            optimizer.step()
        else:
            found += train(second, optimizer, 1)
    assert found == expected and torch.equal(first["kernel"], second["kernel"]) and optimizer.skipped == 2
    again = LearnedOptimizer(parameters().values(), "tensor_rnn", 0.5, 0.01, skip_nonfinite=True)
    again.load_state_dict(optimizer.state_dict())
    assert again.skipped == 2


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (("adam(learning_rate=0.01)",), lambda params: torch.optim.Adam(params, 0.01, eps=1e-7)),
        (("adam(learning_rate=1.0)", 0.01, 0.1), lambda params: torch.optim.AdamW(params, 0.01, eps=1e-7, weight_decay=0.1)),
        (("momentum(learning_rate=0.1)",), lambda params: torch.optim.SGD(params, 0.1, momentum=0.9)),
    ],
)
def test_hand_designed_rules_are_those_of_pytorch(ours, theirs):
    first, second = parameters(), parameters()
    losses = train(first, LearnedOptimizer(first.values(), *ours)), train(second, theirs(second.values()))
    np.testing.assert_allclose(*losses, rtol=2e-3)
    assert losses[0][-1] < 0.9 * losses[0][0]


def test_published_optimizers_train():
    for name in ("tensor_rnn", "hrnn"):
        params = parameters()
        losses = train(params, LearnedOptimizer(params.values(), name, steps=100), 100)
        assert losses[-1] < 0.3 * losses[0], name


def test_groups_have_rates_and_decay_of_their_own():
    def after(*groups):
        params = parameters()
        optimizer = LearnedOptimizer(
            [{"params": [params[name] for name in names], **options} for names, options in groups], "hrnn"
        )
        before = values(params)
        train(params, optimizer, 1)
        return before, values(params)

    before, whole = after((["kernel", "bias", "embedding"], {}))
    _, parts = after((["kernel", "bias"], {"lr": 0.5}), (["embedding"], {"lr": 0.0}))
    half = before + 0.5 * (whole - before)
    np.testing.assert_allclose(parts[:15], half[:15], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(parts[15:], before[15:])


def test_a_scheduler_multiplies_the_steps():
    params = parameters()
    optimizer = LearnedOptimizer(params.values(), "hrnn")
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    train(params, optimizer, 1)
    scheduler.step()
    before = values(params)
    train(params, optimizer, 1)
    np.testing.assert_array_equal(values(params), before)


def test_a_closure_gives_the_loss():
    first, second = parameters(), parameters()
    train(first, LearnedOptimizer(first.values(), "tensor_rnn"), 3)
    optimizer = LearnedOptimizer(second.values(), "tensor_rnn")

    def closure():
        optimizer.zero_grad()
        loss = loss_of(second)
        loss.backward()
        return loss

    for _ in range(3):
        assert optimizer.step(closure).requires_grad
    np.testing.assert_array_equal(values(first), values(second))


@pytest.mark.parametrize("name", ["tensor_rnn", "hrnn(attention=true):untrained", "hrnn+low_precision"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_goes_on_bit_for_bit(name, dtype):
    whole = parameters(dtype=dtype)
    train(whole, LearnedOptimizer(whole.values(), name, steps=20), 6)
    first = parameters(dtype=dtype)
    optimizer = LearnedOptimizer(first.values(), name, steps=20)
    train(first, optimizer, 3)
    file = io.BytesIO()
    torch.save({"params": first, "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = {param: torch.nn.Parameter(value.detach()) for param, value in saved["params"].items()}
    resumed = LearnedOptimizer(second.values(), name, steps=20)
    resumed.load_state_dict(saved["optimizer"])
    train(second, resumed, 3)
    np.testing.assert_array_equal(values(whole), values(second))


def test_the_state_of_bfloat16_params_is_float32():
    params = parameters(dtype=torch.bfloat16)
    optimizer = LearnedOptimizer(params.values(), "hrnn")
    train(params, optimizer, 2)
    (run,) = optimizer.state_dict()["learned"]["runs"]
    assert {leaf.dtype for leaf in run["state"].values()} == {torch.float32}
    assert all(param.dtype == torch.bfloat16 for param in params.values())


def test_copies_and_pickles_go_on():
    params = parameters()
    optimizer = LearnedOptimizer(params.values(), "hrnn")
    train(params, optimizer, 2)
    for copied in (copy.deepcopy((params, optimizer)), pickle.loads(pickle.dumps((params, optimizer)))):
        train(*copied, 2)
        twin = copied[0]
    train(params, optimizer, 2)
    np.testing.assert_array_equal(values(params), values(twin))


def test_frozen_and_late_params_are_a_run_of_their_own():
    params = parameters()
    params["embedding"].requires_grad_(False)
    optimizer = LearnedOptimizer([params["kernel"], params["embedding"]], "hrnn")
    before = values(params)
    train(params, optimizer, 2)
    np.testing.assert_array_equal(values(params)[12:], before[12:])
    params["embedding"].requires_grad_(True)
    optimizer.add_param_group({"params": [params["bias"]]})
    train(params, optimizer, 1)
    assert [run["step"] for run in optimizer.state_dict()["learned"]["runs"]] == [3, 1]
    late = values(params)[12:]
    assert (late != before[12:]).all()


def test_params_without_a_gradient_stay():
    params = parameters()
    optimizer = LearnedOptimizer(params.values(), "hrnn", weight_decay=0.1)
    before = params["bias"].detach().clone()
    (params["kernel"] ** 2).sum().backward()
    optimizer.step()
    assert torch.equal(params["bias"], before)
    assert not torch.equal(params["kernel"], torch.nn.Parameter(parameters()["kernel"]))


def test_sparse_gradients_of_embeddings():
    def after(sparse):
        torch.manual_seed(0)
        table = torch.nn.Embedding(6, 3, sparse=sparse)
        optimizer = LearnedOptimizer(table.parameters(), "hrnn")
        (table(torch.tensor([1, 2, 2])) ** 2).sum().backward()
        optimizer.step()
        return table.weight.detach().numpy()

    np.testing.assert_array_equal(after(True), after(False))


def test_an_embedding_is_one_by_its_name():
    params = parameters()
    optimizer = LearnedOptimizer(params.items(), "tensor_rnn")
    train(params, optimizer, 1)
    plain = parameters()
    train(plain, LearnedOptimizer(plain.values(), "tensor_rnn"), 1)
    assert not np.allclose(values(params)[15:], values(plain)[15:])  # its steps are not orthogonalized


def test_with_attention_eval_shows_the_params():
    params = parameters()
    optimizer = LearnedOptimizer(params.values(), "hrnn(attention=true):untrained")
    train(params, optimizer, 3)
    attended = values(params)
    optimizer.eval()
    (run,) = optimizer.state_dict()["learned"]["runs"]
    np.testing.assert_allclose(np.sort(values(params)), np.sort(run["true"][0].numpy()))
    assert not np.array_equal(values(params), attended)
    with pytest.raises(ValueError, match=r"call train\(\)"):
        optimizer.step()
    optimizer.train()
    np.testing.assert_array_equal(values(params), attended)
    train(params, optimizer, 1)


def test_a_scaler_that_finds_infinite_gradients_skips_the_step():
    params = parameters()
    optimizer = LearnedOptimizer(params.values(), "hrnn")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = values(params)
    scaler.scale(loss_of(params) * float("inf")).backward()
    scaler.step(optimizer)
    scaler.update()
    np.testing.assert_array_equal(values(params), before)
    assert scaler.get_scale() == 2.0**9
    optimizer.zero_grad()
    scaler.scale(loss_of(params)).backward()
    scaler.step(optimizer)
    scaler.update()
    same = parameters()
    train(same, LearnedOptimizer(same.values(), "hrnn"), 1)
    np.testing.assert_allclose(values(params), values(same), rtol=1e-5, atol=1e-6)


def test_faults_are_said():
    params = parameters()
    with pytest.raises(ValueError, match=r"lr must be 0 or more, not -1"):
        LearnedOptimizer(params.values(), "hrnn", lr=-1)
    with pytest.raises(ValueError, match="goes by the length of the run; give steps"):
        LearnedOptimizer(params.values(), "adam+schedule(kind=linear)")
    optimizer = LearnedOptimizer(params.values(), "tensor_rnn")
    loss_of(params).backward()
    with pytest.raises(ValueError, match=r"reads the loss: call show_loss\(loss\) before step\(\)"):
        optimizer.step()
    with pytest.raises(ValueError, match="another optimizer"):
        optimizer.load_state_dict(torch.optim.Adam(params.values()).state_dict())
    optimizer.show_loss(1.0)
    optimizer.step()
    other = parameters(shapes={"kernel": (2, 3), "bias": (3,), "embedding": (5, 4)})
    refusing = LearnedOptimizer(other.values(), "tensor_rnn", lr=0.5)
    with pytest.raises(ValueError, match="shapes"):
        refusing.load_state_dict(optimizer.state_dict())
    assert refusing.param_groups[0]["lr"] == 0.5 and not refusing.state_dict()["learned"]["runs"]  # as it was
    complex_valued = torch.nn.Parameter(torch.ones(2, dtype=torch.complex64))
    optimizer = LearnedOptimizer([complex_valued], "hrnn")
    complex_valued.grad = torch.ones_like(complex_valued)
    with pytest.raises(ValueError, match="real"):
        optimizer.step()


def test_the_example_runs():
    example = Path(__file__).parents[3] / "docs" / "examples" / "with_pytorch.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True)
    losses = {name: float(loss) for name, _, loss in map(str.split, done.stdout.splitlines())}
    assert losses["tensor_rnn"] < losses["adam"], done.stderr
