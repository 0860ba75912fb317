"""Finished runs, kept on disk under what they depend on (see `keys.py`), so that none is made twice.

A store is never in the way: what cannot be read or does not match its checksum is made again, what cannot be written is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from l2o_cli.caches import places
from l2o_cli.errors import Failure, warn, warn_once
from l2o_cli.files import write_atomically

_BEGINNING = b"l2o run 2\n"  # then the SHA-256 of the key and the content, and the content: arrays as an .npz
_START = len(_BEGINNING) + hashlib.sha256().digest_size
_USED = 86400.0  # seconds, after which that a run was used is written down again


class Kept(NamedTuple):
    """A run as a store hands it to that of another process; `lasting` as in `RunStore.save`."""

    key: str
    content: bytes
    lasting: bool


class RunStore:
    """A folder of finished runs: one file for each, named by its key.

    Args:
        folder: of what is kept; None: nothing is.
        handed: a folder for runs that cannot be kept, from where they are handed to another process, or were.
    """

    def __init__(self, folder: Path | None, handed: Path | None = None):
        self.folder, self.handed = folder, handed
        self._told = False  # that nothing can be written
        self._touched: dict[str, bool] = {}  # keys of what was found or made, by whether that is kept
        self.found = self.made = 0  # runs that were asked for, by whether they were here

    def has(self, key: str) -> bool:
        return any(map(os.path.isfile, self._paths(key)))

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays kept under a key; None where there are none, or they are damaged, in which case they are removed."""
        for path in self._paths(key):
            arrays = _load(path, key)
            if arrays is not None:
                self._touched.setdefault(key, path.parent.parent == self.folder)
                return arrays
        return None

    def save(self, key: str, arrays: Mapping[str, Any], lasting: bool = True) -> None:
        """Keep arrays under a key; only for the processes of this command, if there are several, unless `lasting`."""
        packed = io.BytesIO()
        named: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
        np.savez(packed, **named)
        content = packed.getvalue()
        self._touched[key] = lasting
        self._keep(key, _BEGINNING + _checksum(key, content) + content, lasting)

    def touched(self) -> list[Kept]:
        """What was found here or made, as `take` takes it."""
        kept = []
        for key, lasting in self._touched.items():
            for path in self._paths(key):
                if path.is_file():
                    kept.append(Kept(key, path.read_bytes(), lasting))
                    break
        return kept

    def take(self, run: Kept) -> None:
        """Keep a run of another process, if it is whole and not here."""
        if _is_whole(run.content, run.key) and not self.has(run.key):
            self._keep(*run)

    def _keep(self, key: str, content: bytes, lasting: bool) -> None:
        if lasting and self.folder is not None:
            try:
                return _write(_path(self.folder, key), content)
            except (OSError, Failure) as error:
                if not self._told:
                    warn(f"finished runs are not kept: {error}")
                self._told = True
        if self.handed is not None:
            _write(_path(self.handed, key), content)

    def _paths(self, key: str) -> list[Path]:
        return [_path(folder, key) for folder in (self.folder, self.handed) if folder is not None]


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.run"


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _is_whole(content: bytes, key: str) -> bool:
    return content[:_START] == _BEGINNING + _checksum(key, content[_START:])


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(places.OWN, parents=True, exist_ok=True)
    write_atomically(path, content)


def _load(path: Path, key: str) -> dict[str, np.ndarray] | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > _USED:
            os.utime(path)
    if _is_whole(content, key):
        with contextlib.suppress(Exception), np.load(io.BytesIO(content[_START:]), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return None


def user_store(fresh: bool = False, handed: Path | None = None) -> RunStore | None:
    """The user's store; None where nothing is kept, nor handed over.

    Args:
        fresh: whether nothing is to be looked for or kept.
        handed: as of `RunStore`.
    """
    folder = None if fresh else _user_folder()
    return None if folder is None and handed is None else RunStore(folder, handed)


def _user_folder() -> Path | None:
    try:
        folder = places.runs()
        if folder is not None:
            places.claim(*([] if os.environ.get("L2O_RUNS") else [folder.parent]), folder)
        return folder
    except places.Unusable as error:
        warn_once(f"a cache is not used: {error}")
        return None
