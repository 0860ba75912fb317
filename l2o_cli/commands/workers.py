"""The options that say where the work of a command is done."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from l2o_cli.executor import Where

if TYPE_CHECKING:
    from l2o_cli.executor.cluster import Cluster


def worker_options(work: str, note: str = "") -> Callable[[Any], Any]:
    """--workers and --scheduler.

    Args:
        work: what workers do.
        note: a sentence that the help of --workers says besides.
    """
    local = click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help=f"Processes of this machine that share {work}; 1: none but this one.{note}",
    )
    remote = click.option(
        "--scheduler",
        metavar="ADDRESS|FILE",
        help="Have it done by the workers of a Dask scheduler: its address, or the file that it wrote (.json).",
    )
    return lambda command: local(remote(command))


def workers_of(cluster: Cluster) -> str:
    """How many there are."""
    count = len(cluster.workers)
    return f"{count} worker{'s' * (count != 1)}"


@contextlib.contextmanager
def cluster_of(where: Where, quiet: bool = False) -> Iterator[Cluster | None]:
    """The workers that a command asks, None where it does the work itself; where they are to be seen is said."""
    if where.here:
        yield None
        return
    from l2o_cli.errors import warn
    from l2o_cli.executor.cluster import opened

    with opened(where, warn) as cluster:
        if not quiet:
            print(f"{workers_of(cluster)}; dashboard: {cluster.dashboard}", file=sys.stderr)
        yield cluster
