"""What a result was computed with, for its record."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import l2o_cli


def environment() -> dict[str, str | int]:
    """Versions of what computed the results, and the machine's cores, which the timings depend on."""
    versions: dict[str, str | int] = {"l2o": l2o_cli.__version__, "python": platform.python_version()}
    for name in ("tensorflow", "keras", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # such as tensorflow-cpu
            versions[name] = "not installed as a package"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {**versions, "cpu_cores": cores or 1}
