"""The picture of a problem: its surface with trajectories over it if it has two parameters, else loss curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from l2o_problems.base import Problem, Task
from l2o_problems.random import as_seed

from l2o_cli import carry
from l2o_cli.comparison.cell import Cell, Terms, labels
from l2o_cli.comparison.checks import check_memory
from l2o_cli.comparison.run_cell import run_cell
from l2o_cli.comparison.tuning.tiers import Tier
from l2o_cli.errors import BadInput
from l2o_cli.optimizers.packing import pack
from l2o_cli.portraits.landscape import Landscape, grid_points, minimizers, shown
from l2o_cli.portraits.surface_plot import plot_surface
from l2o_cli.portraits.trajectories import trajectories
from l2o_cli.reports.comparison.curve_plots import FORMATS, plot_problem
from l2o_cli.runs.records import Contender
from l2o_cli.stages import Stages

SURFACE_STEPS, CURVE_STEPS = 200, 1000  # unless the request says otherwise
CURVE_SEEDS = 3  # runs of each optimizer
TUNED = 15  # learning rates that are tried
STARTS = 256  # drawn to see in which range minima are to be looked for


@dataclass(frozen=True)
class Portrait:
    """What to draw, and where to."""

    path: Path
    title: str
    problem: Problem
    contenders: Sequence[Contender]
    steps: int | None = None
    seed: int = 0
    starts: np.ndarray | None = None  # [S, 2]; None: the one that the seed draws


def check_file(path: Path, overwrite: bool) -> None:
    """BadInput unless a picture can be written there."""
    if path.suffix.lower() not in FORMATS:
        raise BadInput(f"--plot {path}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if path.is_dir():
        raise BadInput(f"--plot {path} is a folder")
    if path.exists() and not overwrite:
        raise BadInput(f"--plot {path}: exists already; choose another path or say --overwrite")


def draw(portrait: Portrait, stages: Stages) -> Path:
    """Draw it, and make its folder if need be.

    Raises:
        BadInput: starts for a problem that has not two parameters, or an optimizer given twice.
        l2o_problems.data.DataMissing: the problem's data are not on this machine.
    """
    names = labels(portrait.contenders)
    parameters = carry.layout_of(portrait.problem).parameters
    if portrait.starts is not None and parameters != 2:
        raise BadInput(f"--start is for problems of 2 parameters; {portrait.title} has {parameters:,}")
    steps = portrait.steps or CURVE_STEPS
    check_memory({portrait.title: portrait.problem}, portrait.contenders, steps, TUNED + CURVE_SEEDS, CURVE_SEEDS)
    source = portrait.problem.source  # rather an error now than after the folder was made
    portrait.path.parent.mkdir(parents=True, exist_ok=True)
    return (_draw_surface if parameters == 2 else _draw_curves)(portrait, names, source, stages)


def _draw_curves(portrait: Portrait, names: Sequence[str], source: str, stages: Stages) -> Path:
    """Losses against steps, of hand-designed optimizers with their best learning rate."""
    terms = Terms(portrait.steps or CURVE_STEPS, CURVE_SEEDS, portrait.seed, tuning_seeds=1)
    cells = [
        Cell(portrait.title, portrait.problem, name, one, terms, None if one.optimizer.learned else Tier())
        for one, name in zip(portrait.contenders, names, strict=True)
    ]
    entries = [entry for cell in cells for entry in run_cell(cell, stages)]
    return plot_problem(portrait.path, portrait.title, source, entries)


def _draw_surface(portrait: Portrait, names: Sequence[str], source: str, stages: Stages) -> Path:
    """The loss over the two parameters, and from each start the trajectory of each optimizer."""
    problem, steps = portrait.problem, portrait.steps or SURFACE_STEPS
    runs = []
    for contender, name in zip(portrait.contenders, names, strict=True):
        with stages.stage(f"{portrait.title}: {name}, {steps} steps"):
            runs += trajectories(problem, contender, name, portrait.starts, steps, portrait.seed)
    with stages.stage(f"{portrait.title}: surface"):
        task = carry.draw(problem, portrait.seed, 1).task
        landscape = Landscape(problem, task)
        # A run that diverges leaves the picture.
        points = np.concatenate([run.points if run.diverged_at is None else run.points[:1] for run in runs])
        everywhere = np.concatenate([points, _starts(problem, task)])
        least = minimizers(landscape, problem.minimum, everywhere.min(axis=0), everywhere.max(axis=0))
        low, high, equal = shown(points, least)
        least = least[np.all((least >= low) & (least <= high), axis=1)]
        x, y, grid = grid_points(low, high, landscape.resolution)
        losses = landscape(grid).reshape(len(y), len(x))
    title = f"{portrait.title}  [{source}]: {steps} steps, seed {portrait.seed}"
    return plot_surface(portrait.path, title, parameter_names(problem), (x, y, losses), runs, least, equal)


def _starts(problem: Problem, task: Task) -> np.ndarray:
    """Starts of one instance drawn again and again, [STARTS, 2]."""
    repeated = {name: tf.repeat(leaf, STARTS, axis=0) for name, leaf in task.items()}
    return pack(problem.initial_params(as_seed(0), repeated), carry.layout_of(problem)).numpy()


def parameter_names(problem: Problem) -> list[str]:
    """One for each parameter, in packing order: `x[0]`, `kernel[2,1]`, or the bare name of a tensor without axes."""
    return [
        f"{name}[{','.join(map(str, index))}]" if index else name
        for name, shape in problem.param_shapes.items()
        for index in np.ndindex(*shape)
    ]
