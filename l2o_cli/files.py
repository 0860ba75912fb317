"""Writing files so that a killed process leaves the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from l2o_cli.errors import Failure

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: Path | str, content: bytes | str) -> None:
    """Replace the file `path` by `content` (text as UTF-8) in one step; its folder must exist.

    Raises:
        Failure: the file cannot be written (no such folder, no permission, no space); `path` is as it was.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's are readable by their owner only
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Failure(f"{path}: cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make the folder `path`, or PATH-2, PATH-3, ...: the first that is not there, whoever else makes some at the same time.

    It is removed again if it is empty in the end.
    """
    made = path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):
            try:
                made.mkdir()
                break
            except FileExistsError:
                made = path.with_name(f"{path.name}-{number}")
    except OSError as error:
        raise Failure(f"{made}: cannot be made: {error.strerror or error}") from None
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            made.rmdir()


def sync(path: Path | str) -> None:
    """Have what was written to the file or folder `path` on the disk itself, where it outlives a loss of power."""
    if os.name == "nt":  # which has no such call for a folder, nor for a file that is only read
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Delete what `write_atomically` left of `path` when its process was killed. No other process may be writing it."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the file `path`, made if need be, against other processes; yields whether nobody else did.

    The system lets go when a process ends, however it ends. Where files cannot be locked nothing is held, and True yielded.
    """
    if fcntl is None:
        yield True
        return
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
