"""`l2o report`."""

import json
from collections.abc import Callable
from pathlib import Path

import click

RESULTS = ("curves.csv", "sweeps.csv", "compare.yaml", "evaluation.yaml")  # of a comparison or an evaluation


@click.command(
    epilog="""\b
Examples:
  l2o report runs/quick
  l2o report runs/compare-20250101-120000
  l2o report runs/compare-20250101-120000 --out result.html
"""
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The page.  [default: DIR/report.html]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary, or all scores, as JSON.")
def report(folder, out, as_json):
    """Write a page about what is in the folder DIR: a meta-training run, a comparison or an evaluation, finished or not.

    One HTML file that needs no others, and nothing is run. A report that is there already is replaced.

    Of a meta-training run: what was trained and how to do it again, meta-losses and meta-gradients over the meta-steps, the
    families that got least far, lengths, meta-validation against tuned Adam, and warnings of what went wrong. --json prints a
    summary.

    Of a comparison or an evaluation: the verdict, tables of all scores, loss curves, performance profiles, speed-ups, how much
    each baseline is improved on, and what to be careful about. Without --out, each picture is also written to DIR/pictures, as
    PNG and SVG. --json prints what `l2o score --json` does.
    """
    from l2o_cli.errors import BadInput
    from l2o_cli.reports.cells import file_lines

    if any((folder / name).is_file() for name in RESULTS):
        written, summary = _of_results(folder, out)
    elif (folder / "spec.yaml").is_file():
        written, summary = _of_run(folder, out)
    else:
        lacking = "neither spec.yaml of a meta-training run nor curves.csv of a comparison"
        what = lacking if folder.is_dir() else "no such directory"
        raise BadInput(f"{folder}: nothing to report on: {what}")
    if as_json:
        click.echo(summary())
    for line in file_lines(written):
        click.echo(line, err=as_json)


def _of_run(folder: Path, out: Path | None) -> tuple[list[Path], Callable[[], str]]:
    """The files that are written, and what makes the JSON."""
    from l2o_cli.meta.run_tables import read_run, summary
    from l2o_cli.reports.meta_training.page import write_report

    run = read_run(folder)
    return [write_report(run, out or folder / "report.html")], lambda: json.dumps(summary(run), indent=2, allow_nan=False)


def _of_results(folder: Path, out: Path | None) -> tuple[list[Path], Callable[[], str]]:
    from l2o_cli.reports.comparison.page import write_comparison_report
    from l2o_cli.reports.comparison.printed import scores_as_json
    from l2o_cli.scoring.results_folder import read_results

    results = read_results(folder)
    return write_comparison_report(results, out=out), lambda: scores_as_json(results)
