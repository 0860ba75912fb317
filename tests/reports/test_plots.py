"""Pictures of comparisons: what is drawn, and that texts keep apart."""

import itertools

import matplotlib
import numpy as np
import pytest
from l2o_problems.adam_table import AdamRow, Reference
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from l2o_cli.reports.comparison.curve_plots import Line, loss_figure, problem_figure, series, together
from l2o_cli.reports.comparison.plots import (
    SHARES,
    bin_edges,
    histogram_figure,
    probability_figure,
    profile_figure,
    speedup_figure,
    speedups_of,
)
from l2o_cli.reports.drawing import STYLE, shortened, spread, styles
from l2o_cli.runs.records import Run
from l2o_cli.scoring.curves import curve_of
from l2o_cli.scoring.improvements import find_improvements, log_ratio
from l2o_cli.scoring.score_curves import score_curves
from tests.scoring.made_curves import made

TITLE = "quadratic(condition=1e3,dimension=20)+rescale(minimum=0.001,maximum=1000.0)+gradient_noise(deviation=0.1)+delay(steps=3)"
LONG = ["hrnn+momentum_features(decays=[0.9,0.99,0.999])", "adam (random:adam8p:100)", "adam", "nadamw (list:100)", "rmsprop"]


def test_training_curves_are_the_means_of_the_steps():
    rng = np.random.default_rng(0)
    for steps, every in ((1000, 10), (1003, 10), (77, 1), (40, 7)):
        seconds = np.linspace(0, 1, -(-steps // every) + 1)
        run = Run(
            losses=rng.random(steps).astype(np.float32),
            seconds=seconds,
            validation=None,
            diverged_at=None,
            problem="p",
            optimizer="o",
            trial=0,
            hyperparameters={},
            seed=0,
            every=every,
        )
        curve = curve_of(run)
        drawn, losses = series(curve, "train")
        assert drawn.size <= 51 and drawn[-1] == steps
        width = int(np.diff(drawn).max())
        expected_steps, expected = run.mean_losses(width)
        np.testing.assert_array_equal(drawn, expected_steps)
        np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_diverged_and_shorter_runs():
    whole, diverged, short = [4.0, 3.0, 2.0, 1.0], [4.0, 5.0, np.nan, np.nan], [4.0, 2.0]
    steps, values = together([made(losses, seed=seed) for seed, losses in enumerate((whole, diverged, short))], "train")
    np.testing.assert_array_equal(steps, [0, 10, 20, 30])
    np.testing.assert_array_equal(values, [whole, [4, 5, np.inf, np.inf], [4, 2, np.nan, np.nan]])
    # Records in between are interpolated.
    steps, values = together([made([4.0, 2.0], every=20), made([4.0, 3.0, 3.0, 3.0])], "train")
    np.testing.assert_array_equal(values, [[4, 3, 2, np.nan], [4, 3, 3, 3]])


def test_validation_that_was_not_measured_everywhere():
    curve = made([3.0, 2.0, 1.0], validation=[3.0, np.nan, 1.5])
    steps, losses = series(curve, "validation")
    np.testing.assert_array_equal(steps, [0, 20])
    np.testing.assert_array_equal(losses, [3, 1.5])


def test_names_are_moved_apart_but_no_further():
    np.testing.assert_allclose(spread([0.8, 0.2], 0.1), [0.8, 0.2], rtol=1e-12)
    np.testing.assert_allclose(spread([0.5, 0.5, 0.1], 0.1), [0.45, 0.55, 0.1], rtol=1e-12)
    assert spread([], 0.1) == []
    np.testing.assert_allclose(spread([1.0, 1.0, 0.99], 0.1), [0.9, 1.0, 0.8], atol=1e-12)
    rng = np.random.default_rng(1)
    for _ in range(20):
        heights = rng.random(8).tolist()
        places = spread(heights, 0.12)
        assert min(np.diff(sorted(places))) > 0.12 - 1e-9 and min(places) >= 0 and max(places) <= 1 + 1e-9
        assert np.argsort(places).tolist() == np.argsort(heights).tolist()


def test_short_names_keep_both_ends():
    assert shortened("adam") == "adam"
    assert shortened("adam (random:adam8p:100)", 12) == "adam (ra…00)" and len(shortened("x" * 50)) == 17


def adam_row(problem, initial, best):
    return Reference(AdamRow(problem, 10, 0.1, "", initial, best, best, 1.0, 0, 1000, 5, problem, "synthetic"))


def test_improvements_by_hand():
    losses = {"a": {0: 1.0, 1: 4.0}, "b": {0: 2.0, 1: 2.0}}
    runs = [made([5.0, value], optimizer=name, seed=seed) for name, seeds in losses.items() for seed, value in seeds.items()]
    found = find_improvements(score_curves(runs, adam={"p": adam_row("p", 5.0, 1.0)}), "a", "b")
    assert found.normalized and found.each == "run" and (found.better, found.equal) == (1, 0)
    np.testing.assert_allclose([one.amount for one in found.differences], [(2 - 1) / 4, (2 - 4) / 4])
    found = find_improvements(score_curves(runs), "a", "b", each="problem")
    assert not found.normalized and found.differences[0].seed is None
    np.testing.assert_allclose([one.amount for one in found.differences], [np.log10(2 / 2.5)])


def test_improvements_where_runs_diverge_or_losses_are_negative():
    runs = [made([5.0, 1.0], optimizer="a"), made([5.0, np.nan], optimizer="b")]
    runs += [made([5.0, -1.0], optimizer=name, problem="negative") for name in ("a", "b")]
    runs += [made([5.0, -1.0 - (name == "a")], optimizer=name, problem="below") for name in ("a", "b")]
    found = find_improvements(score_curves(runs), "a", "b")
    assert [(one.problem, one.amount, one.side) for one in found.differences] == [("p", np.inf, 1), ("negative", 0, 0)]
    assert found.left_out == ["below"]
    assert log_ratio(np.inf, 1.0, "final_train_loss") == -np.inf and log_ratio(0.0, 1.0, "final_train_loss") == np.inf
    assert log_ratio(0.0, np.log(10), "mean_log_train_loss") == pytest.approx(1)


def test_bins_have_an_edge_at_0_and_hold_all():
    rng = np.random.default_rng(2)
    for values in (rng.normal(size=50), rng.random(30) * 1e-4, np.array([-3.0]), np.array([])):
        edges = bin_edges(values)
        assert np.abs(edges).min() < 1e-12 and 2 <= len(edges) <= 60
        assert np.histogram(values, edges)[0].sum() == len(values)


def test_speedups_along_a_run():
    reference = made(np.linspace(10, 0, 101), optimizer="adam", every=1)
    twice = made(np.maximum(10 - 0.2 * np.arange(101), 0), optimizer="o", every=1)
    found = speedups_of([reference, twice], "adam", "steps")["o"]
    half = SHARES <= 0.5
    np.testing.assert_allclose(found.values[0, half], 2.0, rtol=0.05)
    assert found.values[0, -1] == 1 and not found.at_least.any()
    # Where the reference is never as good, its whole run is counted.
    better = speedups_of([reference, made(np.full(101, -1.0), optimizer="o", every=1)], "adam", "steps")["o"]
    assert better.at_least.all()
    np.testing.assert_allclose(better.values[0], 1 / SHARES)


def visible(figure):
    """The texts that are drawn with their boxes, in pixels."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                shown = low * (1 - 1e-9) <= tick.get_loc() <= high * (1 + 1e-9)
                hidden |= {tick.label2} | (set() if shown else {tick.label1})
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in hidden]
    return [(text.get_text(), text.get_window_extent()) for text in texts]


def overlaps(figure):
    """Pairs of texts that overlap, and texts that leave the picture."""
    boxes = visible(figure)
    assert len(boxes) > 5
    pairs = [
        (one, other)
        for (one, first), (other, second) in itertools.combinations(boxes, 2)
        if min(first.x1, second.x1) - max(first.x0, second.x0) > 1 and min(first.y1, second.y1) - max(first.y0, second.y0) > 1
    ]
    canvas = figure.bbox
    return pairs + [text for text, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > canvas.x1 + 1 or box.y1 > canvas.y1 + 1]


def long_named():
    """Five optimizers whose curves end close to each other, some diverged."""
    rng = np.random.default_rng(4)
    for problem in "pqr":
        for order, name in enumerate(LONG):
            for seed in range(3):
                losses = 3.0 * np.exp(-np.linspace(0, 2 + 0.02 * order, 30) * (1 + 0.01 * rng.random(30)))
                if order == 4 and problem == "p":
                    losses[20:] = np.nan
                yield made(losses, optimizer=name, problem=problem, seed=seed, validation=losses * 1.2)


LOOKS = dict(zip(LONG, styles([True, False, False, False, False]), strict=True))


@pytest.fixture(scope="module", name="scoring")
def _scoring():
    return score_curves(list(long_named()), reference="adam")


def test_loss_curves_overlap_nothing():
    lines = [
        Line(name, f"{name}, learning rate 0.01", LOOKS[name], own)
        for name in LONG
        if (own := [curve for curve in long_named() if curve.optimizer == name and curve.problem == "p"])
    ]
    with matplotlib.rc_context(STYLE):
        assert overlaps(loss_figure(lines, "train")) == []
        assert overlaps(problem_figure(TITLE, "synthetic", lines)) == []


def test_pictures_of_all_problems_overlap_nothing(scoring):
    pairs = [pair for pair in scoring.pairs if pair.other == "adam" and pair.measure == scoring.measure]
    curves = list(long_named())
    with matplotlib.rc_context(STYLE):
        figures = [
            probability_figure(pairs, LOOKS),
            histogram_figure(find_improvements(scoring, LONG[0], LONG[1]), LOOKS),
            histogram_figure(find_improvements(scoring, LONG[0], "rmsprop"), LOOKS),
            profile_figure(scoring.profiles, "seconds", LOOKS),
            speedup_figure(speedups_of(curves, "adam", "steps"), "adam", "steps", LOOKS),
        ]
        for figure in figures:
            assert overlaps(figure) == []
