"""What a command prints of its outcome: a table, the data's sources and the files, or JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from l2o_cli.evaluation.evaluate import Outcome
from l2o_cli.evaluation.scoring.scores import Row

HEADINGS = (
    "problem",
    "optimizer",
    "learning\nrate",
    "trials",
    "final\ntrain loss",
    "mean log\ntrain loss",
    "final vali-\ndation loss",
    "final\ntest loss",
    "diverged",
    "ms per\nstep",
)


def _loss(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if math.isfinite(value) else "diverged"


def _cells(row: Row, steps_of_divergence: list[int]) -> tuple[str, ...]:
    rate = row.hyperparameters.get("learning_rate")
    first, last = min(steps_of_divergence, default=0), max(steps_of_divergence, default=0)
    steps = f" (step {first if first == last else f'{first} to {last}'})" if steps_of_divergence else ""
    return (
        row.problem,
        row.optimizer,
        "-" if rate is None else f"{rate:.3g}",
        str(row.trials),
        _loss(row.final_train_loss),
        _loss(row.mean_log_train_loss),
        _loss(row.final_validation_loss),
        _loss(row.final_test_loss),
        f"{row.diverged}/{row.seeds}{steps}",
        f"{row.step_milliseconds:.3g}",
    )


def table(outcome: Outcome, plain: bool) -> Table:
    """One line per problem and optimizer, medians over the seeds; headings of one line when `plain`."""
    result = Table(box=None, pad_edge=False, header_style="" if plain else "bold")
    for index, heading in enumerate(HEADINGS):
        text = heading.replace("-\n", "").replace("\n", " ") if plain else heading
        result.add_column(text, justify="left" if index < 2 else "right", no_wrap=True, vertical="bottom")
    for entry in outcome.entries:
        steps = [run.diverged_at for run in entry.runs if run.diverged_at is not None]
        result.add_row(*map(Text, _cells(entry.row, steps)))  # brackets in names are not markup
    return result


def as_json(outcome: Outcome) -> str:
    """The rows as a JSON list; null stands for what diverged or has no held-out data."""
    return json.dumps([entry.row.as_json() for entry in outcome.entries], indent=2, allow_nan=False)


def _file_lines(files: list[Path]) -> list[str]:
    """Where everything is: tables, the folder of the pictures and, last, the report."""
    pictures = [path for path in files if path.suffix in (".png", ".svg")]
    lines = [f"wrote {path}" for path in files if path not in pictures and path.suffix != ".html"]
    lines += [f"wrote {folder}/ ({len(pictures)} pictures)" for folder in dict.fromkeys(path.parent for path in pictures)]
    return lines + [f"wrote {path}" for path in files if path.suffix == ".html"]


def print_outcome(outcome: Outcome, json_only: bool) -> None:
    """Everything to stdout; with `json_only` the rows as JSON to stdout and the rest to stderr."""
    console = Console(stderr=json_only, highlight=False, soft_wrap=True)
    if json_only:
        print(as_json(outcome))
    elif outcome.entries:
        plain = not console.is_terminal
        rows = table(outcome, plain)
        # Numbers are never cut or folded, however narrow the terminal.
        width = max(console.width, console.measure(rows, options=console.options.update(width=1000)).maximum)
        Console(highlight=False, width=width).print(rows)
        console.print()
    for note in outcome.notes:
        console.print(note, markup=False)
    for name, source in outcome.sources.items():
        console.print(f"{name}: data {source}", markup=False)
    for line in _file_lines(outcome.files):
        console.print(line, markup=False)
