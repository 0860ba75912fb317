"""Runs: independent of their company, divergence counted, compiled like uncompiled."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from l2o_problems.quadratics import Quadratic
from l2o_problems.transforms import DelayedGradients, GradientNoise, ParameterNoise, SparseGradients

from l2o_cli.carry import layout_of
from l2o_cli.errors import BadInput
from l2o_cli.runs.update_rules import RuleBatches
from l2o_cli.spec.building import make_optimizer
from l2o_cli.spec.names import make_problem


def contender(name: str, **options):
    optimizer = make_optimizer(name, options)
    return SimpleNamespace(label=name, optimizer=optimizer, weights=optimizer.init_weights(0), source="here")


def trials(problem="quadratic", optimizer="adam", steps=40, every=8, **options):
    return RuleBatches(problem, make_problem(problem), contender(optimizer), steps=steps, every=every, **options)


def rates(*values):
    return [{"learning_rate": value} for value in values]


def test_sgd_against_numpy():
    problem = make_problem("quadratic")
    [run] = trials(optimizer="sgd", steps=20, every=6).run(rates(0.01), [3])
    carry = trials(optimizer="sgd")._rollout.start({"learning_rate": np.float32(0.01)}, 3, 1)
    w, y, x = carry.task["w"][0].numpy(), carry.task["y"][0].numpy(), carry.params[0].numpy()
    losses = []
    for _ in range(20):
        residual = w @ x - y
        losses.append(0.5 * residual @ residual)
        x = x - 0.01 * w.T @ residual
    np.testing.assert_allclose(run.losses, losses, rtol=1e-4)
    np.testing.assert_array_equal(run.mean_losses(run.every)[0], [0, 6, 12, 18, 20])
    assert layout_of(problem).parameters == 20 and run.hyperparameters == {"learning_rate": 0.01}
    assert (np.diff(run.seconds) > 0).all() and run.seconds[0] == 0 and run.validation is None


def test_a_diverged_rate_is_reported_and_leaves_the_others_bit_identical():
    one = trials()
    good, bad = one.run(rates(0.1, 0.01), [0, 1]), one.run(rates(0.1, 1e30), [0, 1])
    assert len(good) == len(bad) == 4
    for untouched, beside in zip(good[:2], bad[:2], strict=True):
        np.testing.assert_array_equal(untouched.losses, beside.losses)
        assert beside.diverged_at is None
    for run in bad[2:]:
        # The first update is finite; the loss there is not.
        assert run.diverged_at == 1 and np.isfinite(run.losses[0]) and np.isnan(run.losses[2:]).all()
        assert np.isnan(run.mean_losses(run.every)[1][1:]).all() and run.losses.shape == (40,)


@pytest.mark.parametrize("problem, optimizer", [("quadratic", "adam"), ("random_mlp", "adam"), ("digits_mlp", "hrnn")])
def test_a_run_does_not_depend_on_its_company(problem, optimizer):
    learned = optimizer == "hrnn"
    one = trials(problem, optimizer, steps=12, every=5)
    settings = [{}] if learned else rates(0.1, 0.001, 0.01)
    together = one.run(settings, [7, 8, 9])
    [alone] = one.run(settings[-1:], [8])
    run = together[-2]
    assert (run.seed, run.hyperparameters) == (alone.seed, alone.hyperparameters)
    # Another number of instances may be summed in another order; another minibatch or draw would differ by far more.
    np.testing.assert_allclose(run.losses, alone.losses, rtol=2e-4)
    assert (run.validation is not None) == make_problem(problem).held_out
    if run.validation is not None:
        np.testing.assert_allclose(run.validation, alone.validation, rtol=2e-4)
    assert not np.allclose(run.losses, together[-1].losses, rtol=1e-2)


def test_one_seed_is_one_problem_for_every_optimizer():
    first = [trials("random_mlp", name, steps=3, every=3).run([{}], [5])[0].losses[0] for name in ("adam", "sgd")]
    assert first[0] == pytest.approx(first[1], rel=1e-5)  # two compiled programs, which may add in different orders


@pytest.mark.parametrize("problem", ["quadratic", "digits_mlp"])
def test_compiled_equals_uncompiled(problem):
    compiled, plain = (trials(problem, steps=20, xla=xla).run(rates(0.01), [0, 1]) for xla in (True, False))
    assert len(compiled) == 2
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-3)


def test_chunks_give_the_same_runs(monkeypatch):
    whole = trials().run(rates(0.1, 0.01, 0.001), [0])
    monkeypatch.setattr("l2o_cli.runs.update_rules.MOST_INSTANCES", 2)
    shares = []
    chunked = trials().run(rates(0.1, 0.01, 0.001), [0], advance=shares.append)
    assert [run.trial for run in chunked] == [0, 1, 2] and sum(shares) == pytest.approx(1)
    for one, other in zip(whole, chunked, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)


def test_validation_is_measured_on_the_whole_split():
    one = trials("digits_mlp", steps=10, every=4)
    [run] = one.run([{}], [0])
    assert run.validation.shape == (4,) and np.isfinite(run.validation).all()
    assert run.validation[0] == pytest.approx(2.4, abs=0.5)
    [last] = one.run([{}], [0], curve=False)
    assert np.isnan(last.validation[:-1]).all() and last.validation[-1] == pytest.approx(run.validation[-1])


def test_noise_does_not_depend_on_the_company():
    problem = ParameterNoise(DelayedGradients(SparseGradients(GradientNoise(Quadratic(3)), probability=0.5)))
    one = RuleBatches("noisy", problem, contender("sgd"), steps=10, every=5)
    together, [alone] = one.run(rates(0.1, 0.01), [1, 2]), one.run(rates(0.01), [2])
    # To rounding: a product of matrices need not have the same bits in another batch.
    np.testing.assert_allclose(together[3].losses, alone.losses, rtol=1e-5)


def test_unknown_hyperparameter_is_named():
    with pytest.raises(BadInput, match="'adam' has no hyperparameter 'rate'; there are: learning_rate"):
        trials().run([{"rate": 1.0}], [0])


@pytest.mark.parametrize("runs, sizes", [(3, [3]), (8, [4, 4]), (75, [38, 37]), (97, [25, 25, 25, 22])])
def test_tuning_fills_both_threads(runs, sizes):
    """Batches that run at once are as many as threads or a multiple, none longer than it may be."""
    one = trials(xla=False)
    size, batches = one._in_batches([{}], range(runs), 0, False)
    assert [len(batch) for batch in batches] == sizes and size == max(sizes)
    assert len(one._in_batches([{}], range(runs), 0, True)[1]) == -(-runs // 48)  # one after another where time counts


def test_batches_at_once_are_the_same_runs(monkeypatch):
    settings = rates(0.1, 0.01, 0.001, 1e30)
    shares = []
    first = trials(xla=False).run(settings, [0, 1], curve=False, advance=shares.append)
    again = trials(xla=False).run(settings, [0, 1], curve=False)
    monkeypatch.setattr("l2o_cli.runs.batches.AT_ONCE", 1)
    alone = trials(xla=False).run(settings, [0, 1], curve=False)
    assert sum(shares) == pytest.approx(1) and [run.trial for run in first] == [0, 0, 1, 1, 2, 2, 3, 3]
    for one, same, other in zip(first, again, alone, strict=True):
        np.testing.assert_array_equal(one.losses, same.losses)
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-4)  # batches of another size
        assert one.diverged_at == other.diverged_at
