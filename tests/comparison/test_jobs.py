"""What workers are asked to run, and that this process finds all of it."""

import pytest

from l2o_cli.comparison import jobs as jobs_module
from l2o_cli.comparison.jobs import jobs_of, make_runs, work
from l2o_cli.comparison.plan import make_plan
from l2o_cli.comparison.run import carry_out
from l2o_cli.errors import Failure
from l2o_cli.runs.keys import surroundings
from l2o_cli.runs.store import RunStore
from l2o_cli.spec import ComparisonSpec
from l2o_cli.stages import Stages

SPEC = ComparisonSpec.model_validate(
    {
        "problems": ["booth", "quadratic(dimension=2)"],
        "optimizers": ["lion"],
        "baselines": ["adam", "sgd:global:2"],
        "trials": 2,
        "tuning_seeds": 1,
        "seeds": 2,
        "steps": 6,
        "xla": False,
        "sweeps": [
            {"over": "option", "option": "dimension", "problem": "quadratic", "values": [2, 3]},
            {"over": "horizon", "problem": "booth", "values": [1, 2]},
            {"over": "learning_rate", "problem": "booth", "values": [0.01, 0.1]},
            {"over": "step_time", "problem": "digits_mlp", "values": [8]},
        ],
    }
)
QUIET = Stages(quiet=True)


def test_what_shares_a_problem_is_a_job_and_what_is_all_on_one_problem_is_divided():
    plan = make_plan(SPEC)
    asked = [(job.title, [plan.all_cells[index].label for index in job.arguments[1]]) for job in jobs_of(plan)]
    tuned, every = ["lion", "adam", "sgd (global:2)"], ["lion", "adam", "sgd"]
    assert asked[:4] == [
        ("booth", tuned * 2),
        ("quadratic(dimension=2)", tuned * 2),  # that of the comparison and the first of the sweep
        ("quadratic(dimension=3)", tuned),
        ("booth", tuned),  # of twice the steps
    ]
    assert asked[4:] == [("booth", [label]) for label in every]
    assert sorted(index for job in jobs_of(plan) for index in job.arguments[1]) == list(range(len(plan.all_cells)))


@pytest.mark.parametrize("keep", [False, True])
def test_runs_come_home_from_another_store(tmp_path, monkeypatch, keep):
    """The jobs run in this process, with another store, as on a machine that shares no files."""
    monkeypatch.setenv("L2O_RUNS", str(tmp_path / "there"))
    store = RunStore(tmp_path / "here" if keep else None, tmp_path / "handed")
    spec = SPEC.model_copy(update={"problems": SPEC.problems[:1], "baselines": ("random:adam1p:2",), "sweeps": ()})
    plan = make_plan(spec, store)

    def run(jobs, stages, cluster):
        for job in jobs:
            yield job, job.function(*job.arguments, stages=stages)

    monkeypatch.setattr(jobs_module.jobs, "run", run)
    make_runs(plan, None, QUIET)
    kept, handed = (len(list((tmp_path / name).rglob("*.run"))) for name in ("here", "handed"))
    assert bool(kept) == keep and bool(handed) != keep
    assert (tmp_path / "there").exists() == keep  # nothing is kept there, where the process that asks keeps nothing
    carry_out(plan, tmp_path / "out", QUIET)
    assert (store.made, store.found) == (0, 2 + 2 + 2)  # of lion, of two settings, of the chosen one


def test_what_is_damaged_on_its_way_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("L2O_RUNS", "off")
    first, *others = work(SPEC, [0], False, surroundings(), stages=QUIET)
    assert others and all(run.lasting for run in others)
    store = RunStore(tmp_path)
    store.take(first._replace(content=first.content[:-1]))
    store.take(first._replace(key=others[0].key))
    assert list(tmp_path.iterdir()) == []
    store.take(first)
    assert store.has(first.key) and store.load(first.key) is not None


def test_a_worker_that_would_make_other_runs_says_why():
    with pytest.raises(Failure, match="a worker would make other runs than this process, by its GPUs"):
        work(SPEC, [0], False, {**surroundings(), "GPUs": ["another"]}, stages=QUIET)
