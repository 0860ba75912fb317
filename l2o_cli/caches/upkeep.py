"""How much is kept: what there is, what was not used for longest removed, and all of it on demand.

Only files with the names that l2o gives are ever touched, whatever folder somebody chose for them.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from l2o_cli.caches import compiled, places
from l2o_cli.errors import BadInput, warn

LIMIT = 2_000_000_000  # bytes of both kinds together, unless $L2O_CACHE_SIZE says otherwise
ROOM = 0.9  # of the limit, to which is evicted
TENDED = "l2o-tended"  # a file in the root, modified when the size was last looked at
OFTEN = 3600.0  # seconds between two looks
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

KINDS = ("runs", "xla")
_FOLDERS = {"runs": re.compile(r"[0-9a-f]{2}"), "xla": re.compile(r"[0-9a-f]{16}")}
_ENTRIES = {"runs": re.compile(r"[0-9a-f]{64}\.(run|npz)"), "xla": compiled.ENTRY}
_OTHERS = {  # what belongs to entries
    "runs": re.compile(r"\.[0-9a-f]{64}\.(run|npz)\..*\.tmp"),
    "xla": re.compile(rf"{compiled.UNFINISHED.pattern}|{compiled.INDEX}(\.\d+\.tmp)?"),
}


class Kept(NamedTuple):
    """One file of a cache."""

    path: Path
    size: int
    used: float  # when it was last written or read, in seconds since 1970
    entry: bool  # or what belongs to entries


class Cache(NamedTuple):
    """One of the two caches as it is."""

    folder: Path | None  # None: nothing is kept
    files: list[Kept]
    fault: str | None = None  # why it is not used

    @property
    def entries(self) -> int:
        return sum(file.entry for file in self.files)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def limit() -> int:
    """Bytes that both caches together may take; BadInput if $L2O_CACHE_SIZE is no size."""
    text = os.environ.get("L2O_CACHE_SIZE", "").strip()
    if not text:
        return LIMIT
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]B)?", text, re.IGNORECASE)
    if not found:
        raise BadInput(f"L2O_CACHE_SIZE={text[:50]}: expected a size such as 2GB or 500MB")
    return int(float(found[1]) * UNITS[(found[2] or "").upper()])


def look(kind: str) -> Cache:
    """What there is of a kind."""
    folder = fault = None
    try:
        folder = places.runs() if kind == "runs" else places.compiled()
        if folder is not None:
            places.check(folder)
    except places.Unusable as error:
        fault = str(error)
    return Cache(folder, [] if folder is None else list(_files(kind, folder)), fault)


def listing() -> list[dict[str, Any]]:
    """The caches as plain values, sizes in bytes."""
    return [
        {
            "kind": kind,
            "folder": None if cache.folder is None else str(cache.folder),
            "entries": cache.entries,
            "bytes": cache.size,
            "limit": limit(),
            "fault": cache.fault,
        }
        for kind in KINDS
        for cache in [look(kind)]
    ]


def table() -> list[dict[str, Any]]:
    """`listing` for people, with the sum, which is what the limit is of."""
    rows: list[dict[str, Any]] = []
    for row in listing():
        size, where = shown(row["bytes"]), row["fault"] or row["folder"]
        rows.append({"kind": row["kind"], "entries": f"{row['entries']:,}", "size": size, "folder": where})
    total = sum(row["bytes"] for row in listing())
    return [*rows, {"kind": "both", "entries": "", "size": f"{shown(total)} of {shown(limit())}", "folder": ""}]


def shown(size: int) -> str:
    """Bytes as people read them."""
    unit = next(unit for unit in ("GB", "MB", "KB", "") if size >= UNITS[unit] or not unit)
    return f"{size / UNITS[unit]:.3g} {unit or 'bytes'}"


def evict() -> None:
    """Remove what was not used for longest, of both kinds, if there is more than the limit allows."""
    files = [file for kind in KINDS for file in look(kind).files]
    most, size = limit(), sum(file.size for file in files)
    if size <= most:
        return
    for file in sorted((file for file in files if file.entry), key=lambda file: file.used):
        if size <= ROOM * most:
            break
        with contextlib.suppress(OSError):
            file.path.unlink(missing_ok=True)
            size -= file.size


def tend() -> None:
    """`evict`, if nobody did for a while."""
    try:
        limit()
        folder = places.root() or places.runs()
        if folder is None or not folder.is_dir():
            return
        mark = folder / TENDED
        if not mark.exists() or time.time() - mark.stat().st_mtime > OFTEN:
            mark.touch(0o600)
            evict()
    except BadInput as error:
        warn(str(error))
    except (places.Unusable, OSError):  # which those who keep something tell of
        pass


def clear(kind: str) -> tuple[int, int]:
    """Remove all of a kind; how many entries it was, and bytes. OSError if one cannot be removed."""
    found = look(kind)
    for file in found.files:
        file.path.unlink(missing_ok=True)
    return found.entries, found.size


def _files(kind: str, place: Path) -> Iterator[Kept]:
    for folder, inner, names in os.walk(place):
        if folder == str(place):
            inner[:] = filter(_FOLDERS[kind].fullmatch, inner)
            continue
        inner.clear()
        for name in names:
            path, entry = Path(folder, name), _ENTRIES[kind].fullmatch(name) is not None
            if entry or _OTHERS[kind].fullmatch(name):
                with contextlib.suppress(OSError):  # gone, or another process's
                    info = path.lstat()
                    if stat.S_ISREG(info.st_mode):
                        yield Kept(path, info.st_size, max(info.st_atime, info.st_mtime), entry)
