"""All scores of made-up comparisons: a better, an equal, a slower and a diverging optimizer, and the sentence about them."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from l2o_problems.adam_table import AdamRow, Reference, adam_row

from l2o_cli.errors import BadInput
from l2o_cli.reports.cells import describe_left_out
from l2o_cli.scoring.results_folder import read_results
from l2o_cli.scoring.run_scores import find_reference, normalized_loss
from l2o_cli.scoring.score_curves import score_curves
from l2o_cli.scoring.scored import Scoring
from l2o_cli.scoring.statistics import Estimate
from l2o_cli.scoring.verdict import claim, judge, label, ranking, verdict, verdicts
from l2o_cli.spec.names import make_problem
from tests.scoring.made_curves import made, write

NAN = math.nan
PROBLEMS = ("p", "q", "r")
SEEDS = range(5)


def adam_like(problem, initial, best):
    return AdamRow(problem, 1, 0.1, "", initial, best, best, 1.0, 0, 1000, 2, problem, "synthetic")


ADAM = {"p": Reference(adam_like("p", 8.0, 1.0)), "q": Reference(adam_like("q", 8.0, 1.0))}


def planted(optimizer, rate, seed_of_noise, pace=0.1, seeds=SEEDS, problems=PROBLEMS):
    """Runs from 8 down to 1, exponentially at a rate, with noise; an infinite rate diverges after 100 of 400 steps."""
    rng = np.random.default_rng(seed_of_noise)
    steps = np.arange(41) * 10
    curves = []
    for problem in problems:
        for seed in seeds:
            losses = 1 + 7 * np.exp(-steps / 100 * (1 if math.isinf(rate) else rate)) * np.append(1, rng.lognormal(0, 0.1, 40))
            if math.isinf(rate):
                losses[11:] = NAN
            curves.append(made(losses, optimizer=optimizer, problem=problem, seed=seed, pace=pace))
    return curves


@pytest.fixture(scope="module")
def scoring() -> Scoring:
    """`fast` takes half the steps of adam but four times its time for each; `same` is as adam; `bad` diverges."""
    curves = [
        *planted("fast", 2.0, 0, pace=0.4),
        *planted("bad", math.inf, 1),
        *planted("same", 1.0, 2),
        *planted("adam", 1.0, 3),
    ]
    return score_curves(curves, trials={"adam": (15, 15, 18), "fast": (0, 0, 0)}, adam=ADAM)


def pair(scoring, one, other, measure="final_train_loss"):
    [found] = [each for each in scoring.pairs if (each.optimizer, each.other, each.measure) == (one, other, measure)]
    return found


def test_the_better_wins_and_the_diverging_one_is_last(scoring):
    assert scoring.reference == "adam" and ranking(scoring)[0] == "fast" and ranking(scoring)[-1] == "bad"
    won = pair(scoring, "fast", "adam")
    assert (won.wins, won.win_rate, won.problems, won.fewest_runs) == (3, 1, 3, 5)
    assert won.improvement.value == won.improvement.low == 1
    lost = pair(scoring, "bad", "same")
    assert lost.wins == 0 and lost.improvement.value == lost.improvement.high == 0
    assert pair(scoring, "adam", "fast").improvement.value == 0
    even = pair(scoring, "same", "adam").improvement
    assert even.low <= 0.5 <= even.high


def test_per_second_the_order_turns(scoring):
    """After the time that adam takes, `fast` has made a quarter of its steps: half of adam's way."""
    assert pair(scoring, "fast", "adam", "equal_time_train_loss").improvement.high < 0.5
    [fast, *_] = scoring.optimizers
    assert fast.pooled["speedup_steps"].value == pytest.approx(2, rel=0.15)
    assert fast.pooled["speedup_seconds"].value == pytest.approx(0.5, rel=0.15)
    assert fast.profile_steps == 1 and 0.3 < fast.profile_seconds < 0.9
    adam = scoring.optimizers[-1]
    assert adam.profile_seconds > fast.profile_seconds and adam.profile_steps < 0.8
    assert adam.pooled["speedup_steps"].value == adam.pooled["speedup_steps"].low == 1


def test_diverged_runs_are_the_worst_and_listed(scoring):
    assert len(scoring.diverged) == 15 and {run.optimizer for run in scoring.diverged} == {"bad"}
    for run in scoring.diverged:
        assert run.last_finite_step == 100
        assert run["final_train_loss"] == run["mean_log_train_loss"] == run["equal_time_train_loss"] == math.inf
        assert run["speedup_steps"] == run["speedup_seconds"] == 0 and run["steps_to_target"] == math.inf
        assert run["normalized_loss"] == (None if run.problem == "r" else 2.0)
    bad = scoring.optimizers[1]
    assert (bad.diverged, bad.runs, bad.best_on, bad.profile_steps) == (15, 15, 0, 0)
    assert bad.pooled["normalized_loss"].value == 2 and bad.pooled["speedup_steps"].value == 0


def test_interquartile_means_are_of_the_pooled_runs(scoring):
    """By hand from the runs; `r` has no row in Adam's table and is left out of the normalised loss alone."""
    assert scoring.left_out == {"normalized_loss": ["r"], "equal_time_normalized_loss": ["r"]}
    own = [run for run in scoring.runs if run.optimizer == "same"]
    normalized = sorted(run["normalized_loss"] for run in own if run.problem != "r")
    assert scoring.optimizers[2].pooled["normalized_loss"].value == pytest.approx(np.mean(normalized[2:8]))
    speedups = sorted(run["speedup_steps"] for run in own)
    assert scoring.optimizers[2].pooled["speedup_steps"].value == pytest.approx(np.mean(speedups[3:12]))
    assert normalized[0] == pytest.approx((min(run["final_train_loss"] for run in own if run.problem != "r") - 1) / 7)


def test_the_best_of_each_problem_is_marked(scoring):
    assert {(row.problem, row.optimizer) for row in scoring.problems if row.best} == {(name, "fast") for name in PROBLEMS}
    row = next(row for row in scoring.problems if (row.problem, row.optimizer) == ("q", "same"))
    finals = [run["final_train_loss"] for run in scoring.runs if (run.problem, run.optimizer) == ("q", "same")]
    assert row.medians["final_train_loss"] == np.median(finals) and row.medians["final_validation_loss"] is None


def test_profiles_ascend_and_agree_with_their_integral(scoring):
    shares = [point.seconds for point in scoring.profiles if point.optimizer == "adam"]
    assert len(shares) == 61 and shares == sorted(shares) and shares[-1] == 1
    assert np.mean(shares) == pytest.approx(scoring.optimizers[-1].profile_seconds, abs=0.03)


def test_the_sentence(scoring):
    fast, bad, same = verdicts(scoring)
    assert fast.plain == (
        "fast reached a lower final training loss than tuned adam on all 3 problems, 1.9 times as fast in steps but slower in"
        " seconds."
    )
    number = r"\d\.\d\d \[\d\.\d\d, \d\.\d\d\]"
    assert re.fullmatch(
        r"It beats adam \(best of 15 to 18 rates\): probability of improvement 1\.00 \[1\.00, 1\.00\]\. Its normalized loss is "
        rf"\S+ \S+ \S+ against \S+ \S+ \S+\. It is {number} times as fast in steps and {number} times in seconds \(to the "
        r"lowest training loss that both reach\)\.",
        fast.statistics,
    )
    assert bad.text.startswith(
        "bad reached a higher final training loss than tuned adam on all 3 problems. It was slower in steps and seconds. "
        "It loses to adam (best of 15 to 18 rates): probability of improvement 0.00 [0.00, 0.00]. Its normalized loss is 2"
    )
    assert re.fullmatch(
        r"same reached a (low|high)er final training loss than tuned adam on (2 of|all) 3 problems\. This may be chance\.",
        same.plain,
    )
    assert same.statistics.startswith("It cannot be told apart from adam (best of 15 to 18 rates): probability of improvement 0.")
    assert verdict(scoring) == judge(scoring, *ranking(scoring)[:2]) and verdict(scoring).plain.startswith("fast reached a lower")
    [first, *_] = claim(scoring, pair(scoring, "adam", "bad"))
    assert first == "Tuned adam reached a lower final training loss than bad on all 3 problems"
    assert judge(scoring, "adam", "bad").statistics.startswith("adam (best of 15 to 18 rates) beats bad: ")
    assert label(dataclasses.replace(scoring, trials={"nadamw (random:nadamw:10)": (10,)}), "nadamw (random:nadamw:10)") == (
        "nadamw (random:nadamw:10)"
    )


def constant(optimizer, **losses):
    """Runs that stand at once where they end; a list is the losses of the seeds."""
    seeds = [(problem, seed, loss) for problem, those in losses.items() for seed, loss in enumerate(those)]
    return [made([8.0, loss, loss], optimizer=optimizer, problem=problem, seed=seed) for problem, seed, loss in seeds]


MOSTLY_LOWER = [1] * 13 + [3] * 12


@pytest.mark.parametrize(
    "ours, theirs, said",
    [
        ({"p": [1] * 5}, {"p": [2] * 5}, "ours reached a lower final training loss than other on p. It beats other: "),
        (
            {"p": [1] * 5, "q": [2] * 5, "r": [1] * 5},
            {"p": [2] * 5, "q": [2] * 5, "r": [2] * 5},
            "ours reached a lower final training loss than other on 2 of 3 problems. The loss was the same on 1 problem. It ",
        ),
        (
            {"p": [1] * 5, "q": [2] * 5},
            {"p": [1] * 5, "q": [2] * 5},
            "ours and other reached the same final training loss on both problems. It cannot be told apart from other: ",
        ),
        ({"p": [NAN] * 5}, {"p": [NAN] * 5}, "ours and other diverged on p. It cannot be told apart from other: "),
        (
            {"p": [NAN] * 5, "q": [2] * 5},
            {"p": [NAN] * 5, "q": [2] * 5},
            "ours and other reached the same final training loss on 1 of 2 problems. Both diverged on 1 of 2 problems. It ",
        ),
        (
            {"p": [NAN] * 5, "q": [1] * 5, "r": [1] * 5},
            {"p": [NAN] * 5, "q": [2] * 5, "r": [2] * 5},
            "ours reached a lower final training loss than other on 2 of 3 problems. Both diverged on 1 problem. It beats other",
        ),
        (
            {"p": [*[2] * 13, *[1] * 12]},
            {"p": [2] * 25},
            "ours and other reached the same final training loss on p. Over all runs ours is better. It beats other: ",
        ),
        (
            {"p": [1] * 5, "q": [2] * 5},
            {"p": [2] * 5, "q": [1] * 5},
            "ours reached a lower final training loss than other on 1 of 2 problems. This may be chance. It cannot be told ",
        ),
        (
            {"p": [1] * 3},
            {"p": [2] * 3},
            "ours reached a lower final training loss than other on p. With 3 runs on a problem this is not certain. It is ahead "
            "of other: ",
        ),
        # Of `other` a bare majority of runs is lower on two problems, and none on the third.
        (
            {"p": [2] * 25, "q": [2] * 25, "r": [1] * 25},
            {"p": MOSTLY_LOWER, "q": MOSTLY_LOWER, "r": [2] * 25},
            "ours reached a higher final training loss than other on 2 of 3 problems. Over all runs ours is better. It beats ",
        ),
    ],
)
def test_a_sentence_without_a_reference(ours, theirs, said):
    scoring = score_curves([*constant("ours", **ours), *constant("other", **theirs)])
    text = verdict(scoring).text
    assert verdicts(scoring) == [verdict(scoring)] and text.startswith(said) and "as fast" not in text
    turned, opposite = judge(scoring, "other", "ours").text, {"beats": "loses to", "ahead of": "behind"}
    for word, its_opposite in opposite.items():
        assert (f"{word} other: " in text) == (f"{its_opposite} ours: " in turned)


@pytest.mark.parametrize(
    "speedups, at_least, said",
    [
        ([(3.42, 3.15, 4.16), (2.48, 2.28, 2.98)], False, "3.4 times as fast in steps and 2.5 times as fast in seconds"),
        ([(2.0, 1.9, 2.1), (0.34, 0.27, 0.43)], False, "twice as fast in steps but slower in seconds"),
        ([(0.0, 0.0, 0.0), (0.0, 0.0, 0.0)], False, "slower in steps and seconds"),
        ([(1.02, 0.9, 1.1), (1.04, 1.01, 1.06)], False, "about as fast in steps and slightly faster in seconds"),
        ([(1.0, None, None), (120.4, None, None)], False, "about as fast in steps and 120 times as fast in seconds"),
        ([(2.0, 1.9, 2.1), (2.0, 1.9, 2.1)], True, "at least twice as fast in steps and seconds"),
        ([(1.0, 1.0, 1.0), (2.0, 1.9, 2.1)], True, ""),
        ([None, None], False, ""),
    ],
)
def test_speed_in_plain_words(scoring, speedups, at_least, said):
    """Of a lower loss as it is, of a higher one as the consolation that it is; of held-out losses not at all."""
    steps, seconds = (Estimate(*one) if one else None for one in speedups)
    scores = [
        dataclasses.replace(
            score,
            pooled={**score.pooled, "speedup_steps": steps, "speedup_seconds": seconds},
            pooled_at_least=dict.fromkeys(score.pooled_at_least, at_least),
        )
        for score in scoring.optimizers
    ]
    changed = dataclasses.replace(scoring, optimizers=scores)
    [lower] = claim(changed, pair(scoring, "fast", "adam"))
    assert lower.endswith(f"on all 3 problems{said and ', '}{said}")
    higher, *speed = claim(changed, pair(scoring, "bad", "adam"))
    but = "It was" if "slower in steps and" in said else "But it was"
    assert higher.endswith("on all 3 problems") and speed == ([f"{but} {said}"] if said else [])
    [without] = claim(changed, pair(scoring, "fast", "bad"))
    assert without.endswith("on all 3 problems")


def test_few_runs_make_nothing_certain():
    curves = [*planted("fast", 2.0, 0, seeds=[0], problems=["p"]), *planted("adam", 1.0, 1, seeds=[0], problems=["p"])]
    said = verdict(score_curves(curves)).text
    assert re.match(
        r"fast reached a lower final training loss than adam on p, (\d\.\d times|twice) as fast in steps and seconds\. With 1 run"
        r" on a problem this is not certain\. It is ahead of adam: probability of improvement 1\.00\. ",
        said,
    )
    assert "No verdict" in verdict(score_curves(planted("adam", 1.0, 0))).text


def test_a_lower_bound_is_said_to_be_one():
    """Where Adam diverges on every seed, all that is known of the speed-up is a lower bound."""
    curves = [*planted("good", 1.0, 0), *planted("adam", math.inf, 1)]
    scoring = score_curves(curves, adam=ADAM)
    assert scoring.optimizers[0].pooled_at_least["speedup_steps"] and "at least 1.00 [1.00, 1.00] times" in verdict(scoring).text
    assert scoring.left_out["steps_to_target"] == list(PROBLEMS) and scoring.profiles == []
    # One in four of the values may be greater, and those are the greatest: the interquartile mean leaves them out.
    seeds = [made([8, 4, 2, 1], optimizer="adam", seed=seed) for seed in range(3)]
    seeds.append(made([8, NAN, NAN, NAN], optimizer="adam", seed=3))
    ours = [made([8, 4, 2, 1.5], optimizer="ours", seed=seed) for seed in range(4)]
    assert not score_curves([*ours, *seeds]).optimizers[0].pooled_at_least["speedup_steps"]


def test_problems_that_not_all_ran_on_are_left_out_of_the_means():
    curves = [*planted("fast", 2.0, 0), *planted("adam", 1.0, 1, problems=["p", "q"])]
    scoring = score_curves(curves, adam=ADAM)
    assert [row.problems for row in scoring.optimizers] == [2, 2] and scoring.left_out["speedup_steps"] == ["r"]
    assert pair(scoring, "fast", "adam").problems == 2 and len(scoring.problems) == 5


def test_normalized_loss_by_hand():
    row = adam_row(make_problem("mnist_mlp"))
    assert normalized_loss(row.initial_loss, row) == 1 and normalized_loss(row.best_loss, row) == 0
    assert normalized_loss((row.initial_loss + row.best_loss) / 2, row) == pytest.approx(0.5)
    assert normalized_loss(math.inf, row) == normalized_loss(1e9, row) == 2 and normalized_loss(-1e9, row) == -2
    assert normalized_loss(1.0, None) is None and normalized_loss(1.0, adam_like("p", 1.0, 1.0)) is None
    assert normalized_loss(1.0, adam_like("p", 1.0, math.inf)) is None


def test_which_optimizer_is_the_reference():
    assert find_reference(["hrnn", "adam (global)", "adam"]) == "adam"
    assert find_reference(["adam (defaults)", "adamw", "adam (global)"]) == "adam (global)"
    assert find_reference(["adam (defaults)", "adamw", "adam(beta1=0.5)"]) is None
    curves = [*planted("fast", 2.0, 0), *planted("adam", 1.0, 1)]
    untuned = score_curves(curves, trials={"adam": (0,)}, adam=ADAM)
    assert untuned.reference is None and {"speedup_steps", "speedup_seconds", "steps_to_target"} <= set(untuned.left_out)
    normalized, said = describe_left_out(untuned)
    assert normalized.startswith("normalized_loss leaves out: r")
    assert said.startswith("no speed-up and no target without a tuned Adam")
    assert score_curves(curves, reference="fast").reference == "fast"
    with pytest.raises(BadInput, match="reference 'sgd' is not among the optimizers: fast, adam"):
        score_curves(curves, reference="sgd")
    with pytest.raises(BadInput, match="measure 'loss'; there are: final_train_loss, "):
        score_curves(curves, measure="loss")


def test_a_folder_is_scored_offline_and_always_alike(tmp_path):
    validation = np.linspace(3, 1, 41)
    curves = [
        dataclasses.replace(curve, losses={**curve.losses, "validation": validation * (1 + (curve.optimizer == "adam"))})
        for curve in [*planted("fast", 2.0, 0), *planted("adam", 1.0, 1)]
    ]
    write(tmp_path, curves)
    assert read_results(tmp_path).scoring.trials == {}
    (tmp_path / "scores.csv").write_text("problem,optimizer,trials\np,adam,15\nq,adam,15\np,fast,0\n")
    scoring = read_results(tmp_path, measure="final_validation_loss").scoring
    assert scoring.trials == {"adam": (15, 15), "fast": (0,)}
    assert verdict(scoring).text.startswith(
        "fast reached a lower final validation loss than tuned adam on all 3 problems. It beats adam (best of 15 rates): "
    )
    rows = scoring.rows()
    assert json.dumps(rows, allow_nan=False) == json.dumps(read_results(tmp_path, measure="final_validation_loss").scoring.rows())
    assert set(rows) == {"optimizers", "pairs", "problems", "runs", "profiles"}
    assert rows["optimizers"][0]["speedup_steps_low"] <= rows["optimizers"][0]["speedup_steps"]
    assert rows["problems"][0]["final_validation_loss"] == 1 and rows["pairs"][0]["win_rate"] == 1
    assert rows["pairs"][0]["improvement_low"] == 1


def test_one_run_that_diverges_costs_what_the_worst_costs():
    """Among five runs, one that diverged in place of a good one takes its fifth of the probability away."""
    good, adam = planted("good", 2.0, 0, problems=["p"]), planted("adam", 1.0, 1, problems=["p"])
    diverged = made([8, 1, *[NAN] * 39], optimizer="good", problem="p", seed=0)
    before, after = (score_curves([*ours, *adam], adam=ADAM) for ours in (good, [diverged, *good[1:]]))
    assert pair(before, "good", "adam").improvement.value == 1
    assert pair(after, "good", "adam").improvement.value == pytest.approx(0.8)
    assert after.optimizers[0].diverged == 1 and after.problems[0].diverged == 1
