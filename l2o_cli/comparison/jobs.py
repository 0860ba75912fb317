"""The runs of a plan made by workers, which hand them to the store of this process, where they are then found."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from l2o_cli.comparison.plan import Plan, make_plan
from l2o_cli.comparison.run_cell import run_cell, try_candidates
from l2o_cli.errors import Failure
from l2o_cli.executor import jobs
from l2o_cli.executor.cluster import Cluster
from l2o_cli.executor.jobs import Job
from l2o_cli.runs.keys import surroundings
from l2o_cli.runs.store import Kept, user_store
from l2o_cli.spec import ComparisonSpec, EvaluationSpec
from l2o_cli.stages import Stages


def make_runs(plan: Plan, cluster: Cluster, stages: Stages) -> None:
    """Make the runs of a plan on the workers of a cluster, those on one problem together, the values of sweeps apart.

    What one setting is chosen for on several problems is run as far as it does not depend on other problems.

    Raises:
        Failure: a problem failed; what was finished is in the store.
        Stopped: as by `stages`.
    """
    store = plan.terms.store
    assert store is not None
    with stages.whole(plan.steps), closing(jobs.run(jobs_of(plan), stages, cluster)) as ended:
        for _, runs in ended:
            for run in runs:
                store.take(run)


def jobs_of(plan: Plan) -> list[Job]:
    """A job for each problem, and for each value of a sweep; for each optimizer, where all values are on the same problem."""
    one_place = [sweep for sweep in plan.sweeps if len({point.place for point in sweep.points}) == 1]
    apart = {cell for sweep in one_place for cell in sweep.cells}
    together: dict[Any, list[int]] = {}
    for index, cell in enumerate(plan.all_cells):
        together.setdefault((cell.title, cell.terms.steps, index if cell in apart else None), []).append(index)
    store = plan.terms.store
    keep = store is not None and store.folder is not None
    asked = surroundings()
    return [Job(title, work, (plan.spec, cells, keep, asked)) for (title, *_), cells in together.items()]


def work(
    spec: EvaluationSpec | ComparisonSpec, cells: Sequence[int], keep: bool, asked: Mapping[str, Any], *, stages: Stages
) -> list[Kept]:
    """Make the runs of some cells of a spec's plan, or find them in the user's store of this machine.

    Args:
        keep: whether there may be something to find, and runs are kept.
        asked: `surroundings` of the process that asks.
    """
    own = surroundings()
    unlike = [name for name in own if own[name] != asked[name]]
    if unlike:
        raise Failure(f"a worker would make other runs than this process, by its {', '.join(unlike)}")
    with tempfile.TemporaryDirectory(prefix="l2o-runs-", dir=jobs.scratch(), ignore_cleanup_errors=True) as handed:
        store = user_store(not keep, Path(handed))
        assert store is not None
        everything = make_plan(spec, store).all_cells
        for index in cells:
            (try_candidates if everything[index].shared else run_cell)(everything[index], stages)
        return store.touched()
