"""Speed-up and time to target by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from l2o_cli.scoring.speedup import (
    SECONDS,
    STEPS,
    Speedup,
    cost_to_target,
    envelope,
    speedup,
    speedup_curve,
    target_loss,
)
from tests.scoring.made_curves import made

NAN = math.nan
ADAM = made([8, 6, 7, 4, 2], pace=0.1)


def test_envelope_is_the_best_so_far_of_all_rates():
    other = made([8, 7.5, 3, NAN, NAN], trial=1)  # diverged: its initial loss alone
    third = made([8, 5, 5, 5, 5], trial=2, pace=0.25)
    steps = envelope([ADAM, other, third], STEPS)
    assert [steps.first(loss) for loss in (8, 6, 5, 4, 3.9, 2)] == [0, 10, 10, 30, 40, 40]
    assert steps.first(1.9) == math.inf and steps.horizon == 40 and steps.improved
    seconds = envelope([ADAM, other, third], SECONDS)
    assert [seconds.first(loss) for loss in (6, 5, 4)] == pytest.approx([1.0, 2.5, 3.0]) and seconds.horizon == 10
    assert (np.diff(seconds.costs) >= 0).all() and (np.diff(seconds.best) <= 0).all()


def test_twice_as_fast_is_2_at_each_point():
    slow = made([16, 8, 4, 2, 1, 0.5, 0.25], every=20)
    fast = made([16, 8, 4, 2, 1, 0.5, 0.25], every=10)
    assert speedup_curve(fast, envelope([slow], STEPS), STEPS) == [Speedup(2.0)] * 6
    assert speedup(fast, envelope([slow], STEPS), STEPS) == Speedup(2.0)
    assert speedup(slow, envelope([fast], STEPS), STEPS) == Speedup(0.5)
    assert speedup(fast, envelope([slow], SECONDS), SECONDS) == Speedup(2.0)


def test_where_the_reference_never_gets_it_is_at_least():
    curve = made([8, 4, 5, 1, 0.5])
    # 4 takes Adam 30 steps, 5 does not count, and below 2 it never is: 40 steps are not enough.
    expected = [Speedup(3.0), Speedup(1.5), Speedup(40 / 30, True), Speedup(1.0, True)]
    assert speedup_curve(curve, envelope([ADAM], STEPS), STEPS) == expected
    # The lowest loss that both reach is 2: after 30 steps of ours and 40 of Adam's.
    assert speedup(curve, envelope([ADAM], STEPS), STEPS) == Speedup(40 / 30)
    assert speedup(ADAM, envelope([curve], STEPS), STEPS) == Speedup(30 / 40)


def test_seconds_are_not_steps():
    fast_steps = made([8, 2, 1, 1, 1], pace=1.0)
    assert speedup(fast_steps, envelope([ADAM], STEPS), STEPS) == Speedup(4.0)
    assert speedup(fast_steps, envelope([ADAM], SECONDS), SECONDS).value == pytest.approx(0.4)


def test_equal_runs_have_1_whatever_their_noise():
    rng = np.random.default_rng(0)
    for _ in range(5):
        curve = made(rng.lognormal(size=30))
        assert speedup(curve, envelope([curve], STEPS), STEPS) == Speedup(1.0)


def test_roles_changed_are_the_inverse():
    rng = np.random.default_rng(1)
    for _ in range(20):
        one, other = (made([9.0, *rng.lognormal(size=20)]) for _ in range(2))
        forth, back = speedup(one, envelope([other], STEPS), STEPS), speedup(other, envelope([one], STEPS), STEPS)
        assert forth.value * back.value == pytest.approx(1)


def test_diverged_and_stuck_runs():
    diverged, stuck = made([8, 1, NAN, NAN, NAN]), made([8, 8, 9, 8, 8])
    adam, bad = envelope([ADAM], STEPS), envelope([diverged], STEPS)
    assert speedup(diverged, adam, STEPS) == speedup(stuck, adam, STEPS) == Speedup(0.0)
    assert {value.value for value in speedup_curve(diverged, adam, STEPS)} == {0.0}
    assert speedup(ADAM, bad, STEPS) == speedup(ADAM, envelope([stuck], STEPS), STEPS) == Speedup(1.0, at_least=True)
    assert speedup(stuck, envelope([stuck], STEPS), STEPS) == Speedup(1.0)
    assert speedup(diverged, bad, STEPS) == Speedup(0.0)


def test_time_to_target():
    assert target_loss([ADAM]) == 4  # its best after 30 of 40 steps
    assert target_loss([ADAM, made([8, 3, 3, NAN, NAN], trial=1)]) == 4
    assert target_loss([made([8, NAN])]) is None and target_loss([]) is None
    curve = made([8, 5, 4, 4.5, 1], pace=0.3)
    assert cost_to_target(curve, 4, STEPS) == 20 and cost_to_target(curve, 4, SECONDS) == pytest.approx(6)
    assert cost_to_target(curve, 0.5, STEPS) == math.inf
    assert cost_to_target(made([8, 1, NAN]), 4, STEPS) == math.inf  # though it was there before it diverged
