"""`l2o cache`."""

from __future__ import annotations

import click

from l2o_cli.caches import upkeep
from l2o_cli.commands.listing import print_listing


@click.command(
    epilog="""\b
Examples:
  l2o cache
  l2o cache --clear xla
  L2O_CACHE_SIZE=10GB l2o cache --json
"""
)
@click.option(
    "--clear",
    type=click.Choice([*upkeep.KINDS, "all"]),
    is_flag=False,
    flag_value="all",
    metavar="[runs|xla]",
    help="Remove the finished runs or the compiled code; without a value, both.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def cache(clear, as_json):
    """Show what is kept to be faster the next time, or clear it.

    \b
    runs  finished runs of `l2o evaluate` and `l2o compare`, which are not made again
    xla   code that XLA has compiled, which is not compiled again

    They lie in ~/.cache/l2o (L2O_CACHE=DIR; L2O_RUNS=DIR for the runs alone; off: nothing is kept). A folder that other users may
    write to is not used. Together they take 2 GB at most (L2O_CACHE_SIZE=10GB, say): with more, what was not used for longest is
    removed. Every entry has a checksum, and one that does not match is made again. Clearing them costs nothing but time.

    \b
    --json prints a list of objects, one for each kind:
      kind, folder, entries, bytes, limit, fault
    folder is null where nothing is kept; limit is that of both together, in bytes; fault says why a folder is not used, or is
    null.
    """
    for kind in upkeep.KINDS:
        if clear in (kind, "all"):
            entries, size = upkeep.clear(kind)
            click.echo(f"{kind}: {entries:,} removed, {upkeep.shown(size)}", err=True)
    print_listing(upkeep.listing() if as_json else upkeep.table(), as_json)
