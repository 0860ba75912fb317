"""Pictures of sweeps and their section of the report, of made tables; nothing runs."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text

from l2o_cli.errors import Failure
from l2o_cli.reports.drawing import STYLE, styles
from l2o_cli.reports.sweeps.page import findings, sweep_section, title_of, write_sweep_pictures
from l2o_cli.reports.sweeps.plots import draw_sweep, ends_of, page_figure, sweep_figure
from l2o_cli.scoring.results_folder import Results, read_results
from l2o_cli.scoring.sweep_tables import read_tables, value_cell, value_text

LONG = "a_rather_long_name(hidden=[20,20],time_scales=4):untrained"
INF = math.inf
SEEDS = [0, 1, 2]

# {name: (over, problem, values, steps, {optimizer: (learned, range of meta-training, loss of each seed at each value)})}
MADE = {
    "rates": (
        "learning_rate",
        "quadratic(dimension=20)",
        [1e-2, 1e-5, 1.0],
        [60] * 3,
        {
            "hrnn": (True, [1e-3, 3e-3], [[0.1, 0.2, 0.3], [90, 95, 100], [0.5, 0.7, INF]]),
            LONG: (True, [1e-6, 1e-2], [[0.3, 0.4, 0.5]] * 3),
            "adam": (False, None, [[1, 2, 3], [90, 95, 101], [1e30, 1e31, 1e32]]),
            "sgd": (False, None, [[3, 4, 5], [90, 95, 100], [INF, INF, INF]]),
        },
    ),
    "lengths": (
        "horizon",
        "digits_mlp",
        [1, 2, 10],
        [500, 1000, 5000],
        {
            "hrnn": (True, [50, 2000], [[0.1, 0.2, 0.3], [0.05, 0.06, 0.07], [0.01, 0.02, 0.03]]),
            "adam": (False, None, [[0.2, 0.3, 0.3], [0.05, 0.07, 0.08], [0.001, 0.002, 0.003]]),
        },
    ),
    "activations": (
        "option",
        "random_mlp",
        ["relu", "tanh"],
        [60] * 2,
        {"hrnn": (True, None, [[0.1, 0.2, 0.3]] * 2), "adam": (False, None, [[0.2, 0.3, INF]] * 2)},
    ),
    "checkpoints": (
        "training_problems",
        "digits_mlp",
        [4],
        [60],
        {"meta-trained": (True, None, [[0.1, 0.2, 0.3]]), "adam": (False, None, [[0.2, 0.3, 0.4]])},
    ),
    "times": (
        "step_time",
        "mnist_conv",
        [1, 8, 64],
        [60] * 3,
        {"hrnn": (True, None, [[4.0], [5.0], [12.0]]), "adam": (False, None, [[1.0], [2.0], [8.0]])},
    ),
}


def write(folder, names):
    """The two files of the sweeps with these names."""
    lines = ["sweep,over,value,optimizer,seed,final_train_loss,final_validation_loss,step_milliseconds"]
    facts = []
    for name in names:
        over, problem, values, steps, optimizers = MADE[name]
        about = {label: {"learned": learned, "meta_trained": known} for label, (learned, known, _) in optimizers.items()}
        option = {"option": "activation"} if over == "option" else {}
        fact = {"name": name, "over": over, "problem": problem, "values": values, "steps": steps, "seeds": SEEDS}
        facts.append({**fact, **option, "optimizers": about})
        for label, (_, _, losses) in optimizers.items():
            for value, of_seeds in zip(values, losses, strict=True):
                for seed, loss in enumerate(of_seeds):
                    cells = f",,{loss}" if over == "step_time" else f"{loss},{2 * loss if name == 'lengths' else ''},1"
                    lines.append(f'{name},{over},"{value_cell(value)}","{label}",{seed},{cells}')
    (folder / "sweeps.csv").write_text("\n".join(lines) + "\n")
    (folder / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": facts}, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("made"), MADE)


@pytest.fixture(name="tables")
def _tables(folder):
    return {table.name: table for table in read_tables(folder)}


def looks_of(table):
    return dict(zip([line.label for line in table.lines], styles([line.learned for line in table.lines]), strict=True))


def test_tables_are_read_in_the_order_of_the_values(tables):
    rates = tables["rates"]
    assert rates.values == [1e-5, 1e-2, 1.0] == rates.places and rates.seeds == 3
    hrnn = rates.lines[0]
    assert hrnn.medians("final_train_loss") == [95, 0.2, 0.7] and hrnn.diverged("final_train_loss") == [0, 0, 1]
    assert hrnn.measured["final_validation_loss"] == [[], [], []] and hrnn.meta_trained == (1e-3, 3e-3)
    assert rates.lines[3].medians("final_train_loss")[2] == INF
    assert tables["lengths"].places == [500, 1000, 5000] and tables["lengths"].measures[1] == "final_validation_loss"
    assert tables["activations"].places is None and tables["times"].measures == ["step_milliseconds"]


NOTHING = Results(Path(), {}, None, [], [], [])


def test_a_folder_without_sweeps_has_no_section(tmp_path):
    assert read_tables(tmp_path) == [] and list(sweep_section(NOTHING)) == [] and write_sweep_pictures(NOTHING) == []
    (tmp_path / "sweeps.yaml").write_text("sweeps: [{name: x}]")
    assert read_tables(tmp_path) == []  # killed between the two
    (tmp_path / "sweeps.csv").write_text("sweep,over\n")
    with pytest.raises(Failure, match=r"sweeps\.csv"):
        read_tables(tmp_path)


def drawn(table, measure=None):
    """The axes of one measure, laid out."""
    figure = matplotlib.figure.Figure(figsize=(4, 3))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw_sweep(axes, table, measure or table.measures[0], looks_of(table))
    figure.canvas.draw()
    return axes


def marks(axes, marker):
    """(x, y, colour) of each mark."""
    return [(*line.get_xydata()[0], to_hex(line.get_color())) for line in axes.lines if line.get_marker() == marker]


def test_lines_are_medians_and_what_leaves_the_axis_is_marked(tables):
    table = tables["rates"]
    axes, colours = drawn(table), [to_hex(colour) for colour, *_ in looks_of(table).values()]
    lines = {to_hex(line.get_color()): line for line in axes.lines if line.get_marker() == "None"}
    np.testing.assert_array_equal(lines[colours[0]].get_xydata(), [[1e-5, 95], [1e-2, 0.2], [1, 0.7]])
    np.testing.assert_array_equal(lines[colours[3]].get_ydata(), [95, 4, np.nan])
    assert axes.get_xscale() == axes.get_yscale() == "log" and axes.get_ylim()[1] < 1e4
    crosses, triangles = marks(axes, "X"), marks(axes, "^")
    assert [(x, colour) for x, _, colour in crosses] == [(1, colours[0]), (1, colours[3])]
    assert [(x, colour) for x, _, colour in triangles] == [(1, colours[2])]
    assert len({y for _, y, _ in crosses + triangles}) == 3  # one below the other
    shaded = [patch for patch in axes.patches if to_hex(patch.get_facecolor()) == colours[0]]
    assert [(patch.get_x(), round(patch.get_x() + patch.get_width(), 9)) for patch in shaded] == [(1e-3, 3e-3)]


def test_values_that_are_no_numbers_are_not_joined(tables):
    axes = drawn(tables["activations"])
    assert all(line.get_linestyle() == "None" for line in axes.lines)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["relu", "tanh"]
    assert [x for x, _, _ in marks(axes, "X")] == pytest.approx([0.04, 1.04])  # beside the values, as its points are
    assert len(drawn(tables["checkpoints"]).collections) == 2  # the ranges at one value alone


def test_axes_have_labels_and_ticks_at_the_values(tables):
    for name, label, ticks in (
        ("rates", "initial learning rate", ["1e-5", "0.01", "1"]),
        ("lengths", "steps of a run", ["500\n1×", "1,000\n2×", "5,000\n10×"]),
        ("times", "batch size", ["1", "8", "64"]),
        ("activations", "activation", ["relu", "tanh"]),
    ):
        axes = drawn(tables[name])
        assert axes.get_xlabel() == label and [text.get_text() for text in axes.get_xticklabels()] == ticks
    assert drawn(tables["times"]).get_ylabel() == "milliseconds of a step"
    assert drawn(tables["lengths"], "final_validation_loss").get_ylabel() == "final validation loss"


def figures(table):
    with matplotlib.rc_context(STYLE):
        yield from (page_figure(table, measure, looks_of(table)) for measure in table.measures)
        yield sweep_figure(table, title_of(table), looks_of(table))


@pytest.mark.parametrize("name", MADE)
def test_no_two_texts_overlap_and_none_is_cut_off(tables, name):
    for figure in figures(tables[name]):
        FigureCanvasAgg(figure).draw()
        beyond = [text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for text in _not_drawn(axis)]
        texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in beyond]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
        assert len(boxes) > 5
        for index, (text, box) in enumerate(boxes):
            assert not _outside(box, figure), text
            others = [other for other, its in boxes[index + 1 :] if box.overlaps(its)]
            assert not others, (text, others)


def _not_drawn(axis):
    """Labels of ticks beyond the limits of an axis."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    return [label for tick in ticks if not low <= tick.get_loc() <= high for label in (tick.label1, tick.label2)]


def _outside(box, figure):
    return box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1


def test_the_pictures_name_everything_and_come_out_the_same_again(tmp_path):
    folder = write(tmp_path, ["rates", "lengths"])
    files = write_sweep_pictures(read_results(folder))
    assert [file.name for file in files] == [f"sweep-{name}.{end}" for name in ("rates", "lengths") for end in ("png", "svg")]
    text = files[1].read_text()
    shaded = "hrnn, meta-trained with initial rates of 0.001 to 0.003"
    for part in (LONG, "sgd", "some or all runs diverged", "the median is beyond the axis", shaded, "range of 3 seeds"):
        assert part in text
    assert "hrnn, meta-trained on horizons of 50 to 2,000 steps" in files[3].read_text()
    write_sweep_pictures(read_results(folder))
    assert files[1].read_text() == text


def test_optimizers_of_the_comparison_have_the_same_colours_as_there(tmp_path):
    record = {"optimizers": {"rmsprop": {"learned": False}, "adam": {"learned": False}}}
    (tmp_path / "compare.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    text = "".join(sweep_section(read_results(write(tmp_path, ["times"])))).lower()
    [(first, *_), (second, *_)] = styles([False, False])
    assert second.lower() in text and first.lower() not in text


def test_the_section_is_whole(folder):
    text = "".join(sweep_section(read_results(folder)))
    opened = []

    class Balanced(HTMLParser):
        def handle_starttag(self, tag, attributes):
            opened.append(tag)

        def handle_endtag(self, tag):
            while opened.pop() != tag:
                assert tag == "svg", tag

    Balanced().feed(re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL))
    assert opened == []
    assert text.count("<svg") == 6 and text.count("<h3>") == 5  # the sweep over lengths has two losses
    for part in ("quadratic(dimension=20): loss against initial learning rate", "infinite (3 of 3 diverged)", "<th>10×</th>"):
        assert part in text


def test_findings_by_hand(tables):
    assert findings(tables["rates"]) == [f"Least final training loss: {LONG} at 1e-5, 1; hrnn at 0.01."]
    assert findings(tables["lengths"]) == ["Least final training loss: hrnn at 1×, 2×; adam at 10×."]
    [times] = findings(tables["times"])
    assert times == "The slowest step takes a multiple of the fastest one's time: 4 at 1, 2.5 at 8, 1.5 at 64."


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-5, "1e-5"), (1, "1"), (0.001, "0.001"), (1e7, "1e7"), ([8, 8], "[8,8]"), ("relu", "relu"), (True, "True")],
)
def test_values_as_text(value, text):
    assert value_text(value) == text


def test_ranges_as_text():
    assert ends_of((50, 2000)) == "50 to 2,000" and ends_of((1e-6, 0.01)) == "1e-6 to 0.01" and ends_of((300, 300)) == "300"
