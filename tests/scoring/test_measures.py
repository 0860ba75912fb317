"""The table of measures: what it says of each, and that an entry is all that another one takes."""

import pytest

from l2o_cli.scoring.measures import COMPARED, CRITERIA, MEASURES, POOLED, Measure
from l2o_cli.scoring.score_curves import score_curves
from tests.scoring.made_curves import made


@pytest.mark.parametrize("name", MEASURES)
def test_each_is_described_and_comes_from_one_function(name):
    measure = MEASURES[name]
    assert measure.name == name and measure.title and measure.meaning
    assert (measure.alone is None) != (measure.beside is None)
    assert measure.normalized is None or measure.normalized in POOLED


def test_settings_are_chosen_by_what_optimizers_are_compared_by():
    assert set(CRITERIA) < set(COMPARED)
    assert all(MEASURES[name].alone for name in CRITERIA)  # of runs on the tuning seeds nothing else is known


def test_another_entry_is_enough_for_all_tables(monkeypatch):
    entry = Measure(
        "initial_loss", "initial loss", "before the first update", alone=lambda curve: float(curve.losses["train"][0])
    )
    monkeypatch.setitem(MEASURES, entry.name, entry)
    curves = [made([4.0 + seed, 1.0], optimizer=name, seed=seed) for name in ("a", "b") for seed in range(3)]
    rows = score_curves(curves).rows()
    assert [row["initial_loss"] for row in rows["runs"]] == [4, 5, 6, 4, 5, 6]
    assert [row["initial_loss"] for row in rows["problems"]] == [5, 5]
