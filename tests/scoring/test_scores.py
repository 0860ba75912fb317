"""Scores and rows against numpy by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from l2o_cli.runs.records import Run
from l2o_cli.scoring.curves import tail_steps
from l2o_cli.scoring.run_scores import score, summarize
from l2o_cli.scoring.statistics import median


def make_run(losses, every=10, validation=None, diverged_at=None, seconds=2.0, seed=0):
    losses = np.asarray(losses, np.float32)
    records = -(-len(losses) // every) + 1
    return Run(
        problem="p",
        optimizer="o",
        trial=0,
        hyperparameters={},
        seed=seed,
        every=every,
        losses=losses,
        seconds=np.linspace(0, seconds, records),
        validation=validation,
        diverged_at=diverged_at,
    )


def test_scores_by_hand():
    losses = np.exp(np.random.default_rng(0).normal(size=400)).astype(np.float32)
    result = score(make_run(losses, every=4, validation=np.arange(101.0), seconds=2.0))
    assert result["final_train_loss"] == pytest.approx(losses[380:].astype(float).mean())
    windows = losses.astype(float).reshape(100, 4).mean(axis=1)
    assert result["mean_log_train_loss"] == pytest.approx(np.log(windows).mean())
    assert result["final_validation_loss"] == 100.0
    assert result.step_milliseconds == pytest.approx(5.0)


def test_the_tail_is_at_least_a_window_and_at_most_the_run():
    assert tail_steps(400, 4) == 20 and tail_steps(400, 50) == 50
    assert tail_steps(401, 4) == 21 and tail_steps(1, 1) == 1 and tail_steps(3, 10) == 3


def test_zero_and_negative_losses_have_a_finite_logarithm():
    expected = (2 * math.log(1e-12) + math.log(1)) / 3
    assert score(make_run([1.0, 0.0, -5.0], every=1))["mean_log_train_loss"] == pytest.approx(expected)


def test_windows_by_hand_with_a_short_last_one():
    run = make_run([1, 2, 3, 4, 5, 6, 7], every=3)
    np.testing.assert_array_equal(run.mean_losses(run.every)[0], [0, 3, 6, 7])
    np.testing.assert_allclose(run.mean_losses(run.every)[1], [1, 2, 5, 7])
    steps, losses = run.mean_losses(6)
    np.testing.assert_array_equal(steps, [0, 6, 7])
    np.testing.assert_allclose(losses, [1, 3.5, 7])


def test_windows_are_nan_from_the_divergence_on():
    run = make_run([1, 2, np.inf, np.nan, np.nan, np.nan], every=2, diverged_at=2)
    np.testing.assert_array_equal(run.mean_losses(run.every)[1], [1, 1.5, np.nan, np.nan])


def test_a_run_that_diverged_by_an_update_is_told_by_its_windows_too():
    """The loss before the last update was finite; the update was not."""
    run = make_run([1, 2, 3, 4], every=2, diverged_at=3)
    np.testing.assert_array_equal(run.mean_losses(run.every)[1], [1, 1.5, np.nan])
    assert score(run)["final_train_loss"] == math.inf


def test_a_diverged_run_is_the_worst_score():
    validation = np.array([2.0, np.nan])
    result = score(make_run([1, 2, np.nan], every=3, validation=validation, diverged_at=1))
    assert result["final_train_loss"] == result["mean_log_train_loss"] == result["final_validation_loss"] == math.inf


def test_medians_take_a_diverged_run_as_the_worst():
    assert median([3.0, 1.0, math.inf]) == 3.0
    assert median([1.0, math.inf]) == math.inf
    assert median([1.0, 2.0]) == 1.5


def test_row_is_valid_json_with_its_keys():
    runs = [make_run([1.0, 0.5], every=1), make_run([1.0, np.nan], every=1, diverged_at=0, seed=1)]
    row = summarize(runs, trials=7)
    assert (row.diverged, row.seeds, row.trials) == (1, 2, 7) and row.medians["final_train_loss"] == math.inf
    content = json.loads(json.dumps(row.as_json(), allow_nan=False))
    assert list(content) == [
        "problem",
        "optimizer",
        "trials",
        "hyperparameters",
        "final_train_loss",
        "mean_log_train_loss",
        "final_validation_loss",
        "final_test_loss",
        "diverged",
        "seeds",
        "step_milliseconds",
    ]
    assert content["final_train_loss"] is None and content["diverged"] == 1
