"""Simulated meta-steps come to what can be worked out by hand."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from l2o_cli.benchmark.scale_out import Parts, families_wanted, simulate

FREE = Parts(computing=(2.0,), asking=0.0, transfer=0.0, combining=0.0, update=0.0, compiling=0.0)


def test_without_any_overhead_even_families_fill_the_workers():
    assert simulate(FREE, 8, 16).efficiency == pytest.approx(1)
    assert simulate(FREE, 8, 16).seconds == pytest.approx(4)
    assert simulate(FREE, 8, 8, asynchronous=True).efficiency == pytest.approx(1)


def test_one_family_too_many_is_waited_for():
    assert simulate(FREE, 8, 9).efficiency == pytest.approx(9 / 16)
    assert simulate(FREE, 8, 4).efficiency == pytest.approx(4 / 8)
    assert simulate(FREE, 8, 4).limit == "too few families"


def test_uneven_families_are_waited_for_unless_the_run_is_asynchronous():
    uneven = replace(FREE, computing=(0.1, 0.1, 0.1, 0.1, 10.0))
    waiting, free = (simulate(uneven, 16, 16, asynchronous=kind) for kind in (False, True))
    assert waiting.efficiency < 0.3 and waiting.limit == "the slowest family"
    assert free.efficiency == pytest.approx(1)
    assert simulate(uneven, 16, 16, even=True).efficiency == pytest.approx(1)


def test_what_this_process_does_for_each_family_bounds_all_workers():
    asking = replace(FREE, asking=0.5)
    both = [simulate(asking, 100, 100, asynchronous=kind) for kind in (False, True)]
    for outcome in both:
        assert outcome.limit == "this process"
        assert outcome.seconds == pytest.approx(50, rel=0.06)
        assert outcome.efficiency == pytest.approx(2 / 50, rel=0.06)


def test_the_way_and_the_update_are_waited_for_once_in_a_meta_step():
    parts = replace(FREE, transfer=0.25, update=0.5, combining=0.1)
    assert simulate(parts, 4, 4).seconds == pytest.approx(2 + 0.25 + 0.5 + 4 * 0.1)


def test_lost_workers_cost_time():
    long = replace(FREE, computing=(360.0,), compiling=30.0)  # a tenth of the time that a worker lives
    for asynchronous in (False, True):
        whole, some = (simulate(long, 64, 128, asynchronous=asynchronous, lost=lost) for lost in (False, True))
        assert some.seconds > 1.05 * whole.seconds


def test_the_families_that_are_wanted():
    assert families_wanted(FREE, 64) == 64
    assert families_wanted(replace(FREE, computing=(1.0, 2.0)), 8) in (16, 32)
    assert families_wanted(replace(FREE, asking=1.0), 64) is None


@pytest.mark.slow
def test_the_command_measures_a_spec(tmp_path):
    spec = tmp_path / "tiny.yaml"
    spec.write_text("{optimizer: learned_rate, problems: [quadratic, rosenbrock], families_per_step: 2, instances: 2}")
    command = [sys.executable, "-m", "l2o_cli", "bench", "--scale-out", str(spec), "--json"]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=500).stdout)
    assert [row["workers"] for row in figures["simulated"]] == [1, 4, 16, 64, 256, 1024]
    assert [run["workers"] for run in figures["real"]] == [1, 2, 4]
    assert figures["parts"]["computing"] > 0
