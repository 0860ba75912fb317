"""`l2o report`."""

import json
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  l2o report runs/quick
  l2o report runs/quick --json
"""
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The page.  [default: RUN/report.html]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def report(run, out, as_json):
    """Write a page about the meta-training run in the directory RUN, finished or not.

    One HTML file without any others: what was trained and how to do it again, meta-losses and meta-gradients over the
    meta-steps, the families that got least far, lengths, meta-validation against tuned Adam, and warnings of what went wrong.
    A report that is there already is replaced.
    """
    from l2o_cli.meta.report import check_place, write_report
    from l2o_cli.meta.run_tables import read_run, summary

    out = out or run / "report.html"
    what = read_run(run)
    check_place(out)
    write_report(what, out)
    if as_json:
        click.echo(json.dumps(summary(what), indent=2, allow_nan=False))
    click.echo(f"wrote {out}", err=as_json)
