"""The options that say where the work of a command is done."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from l2o_cli.errors import warn

if TYPE_CHECKING:
    from l2o_cli.executor import Where
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


def begin(stack: contextlib.ExitStack, where: Where, quiet: bool = False) -> Cluster:
    """The cluster that is meant, until the stack is left; how many workers it has is said on stderr, unless `quiet`."""
    from l2o_cli.executor.cluster import opened

    cluster = stack.enter_context(opened(where, warn))
    count = len(cluster.workers)
    if not quiet:
        print(f"{count} worker{'s' * (count != 1)}; dashboard: {cluster.dashboard}", file=sys.stderr, flush=True)
    return cluster


@contextlib.contextmanager
def cluster_of(where: Where, quiet: bool = False) -> Iterator[Cluster | None]:
    """As `begin`; None where this process does the work itself."""
    with contextlib.ExitStack() as stack:
        yield None if where.here else begin(stack, where, quiet)
