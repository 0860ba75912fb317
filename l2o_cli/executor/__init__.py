"""Where work is done: in this process, or by the workers of a Dask cluster, on this machine or on many.

Dask brings the workers, the transport, the scheduling of jobs and the news of who came and went. Here stand what a worker must be
like (`worker.py`), how it is reached (`cluster.py`), and independent jobs (`jobs.py`). What is called on a worker is a function
that can be imported there, with arguments that can be pickled.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Where:
    """Where the work of a command is done.

    Attributes:
        workers: processes on this machine; 1: none but this one.
        threads: that each of them has to compute in; None: their share of the machine's cores.
        scheduler: the address of a Dask scheduler, or a file that it wrote; its workers do the work.
    """

    workers: int = 1
    scheduler: str | None = None
    threads: int | None = None

    @property
    def here(self) -> bool:
        """Whether it is this process."""
        return self.workers == 1 and self.scheduler is None
