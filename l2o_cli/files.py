"""Files: written so that a killed process leaves the old content or the new, never half of it; names for them; tables, read."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from l2o_cli.errors import BadInput, Failure

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


LENGTH = 120  # bytes of the name of a file, without its suffix: some file systems allow 143
_FORBIDDEN = r'[\x00-\x1f\x7f\ud800-\udfff/\\<>:"|?*]' if os.name == "nt" else r"[\x00-\x1f\x7f\ud800-\udfff/]"
# TensorFlow's messages are "PATH; CAUSE [Op:NAME] name: ", perhaps with more lines.
_CAUSE = re.compile(r"; ([^;\n]+?)(?: \[Op:|\n|$)")


def file_name(title: str, taken: set[str]) -> str:
    """A name for files that no other one has, without a suffix: the title itself, but for what file systems do not allow.

    Args:
        taken: names that are in use, without regard to case; gets this one.
    """
    whole = unicodedata.normalize("NFC", title)
    name = re.sub(_FORBIDDEN, "-", whole).strip(" ").lstrip(".-").rstrip(". ")
    short = name.encode()[:LENGTH].decode(errors="ignore")
    if not name or short != name or short.casefold() in taken:
        digest = hashlib.sha256(title.encode(errors="surrogatepass")).hexdigest()[:8]
        short = f"{short}-{digest}".lstrip("-")
    taken.add(short.casefold())  # some file systems do not tell cases apart
    return short


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
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)  # mkstemp's are readable by their owner only
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Failure(f"{path}: cannot be written: {error.strerror or error}") from None


def cause(error: Exception, otherwise: str | None = None) -> str:
    """Why a file operation of Python or TensorFlow failed: "No space left on device"; `otherwise` where it is not said."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    found = _CAUSE.search(str(error))
    return found[1] if found else otherwise or str(error).split("\n", 1)[0]


def replace_folder(made: Path, out: Path) -> None:
    """Move the folder `made` to `out`, beside it on one file system. Where that fails, what was at `out` is there again."""
    old = made.with_name(f"{made.stem}.old.tmp")
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
    try:
        made.rename(out)
    except BaseException:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


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


def read_csv(path: Path, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, {column: cell}) of each row of a CSV file, also as spreadsheets write it: with a byte order mark and empty lines.

    Args:
        required: columns that there have to be.

    Raises:
        BadInput: the file cannot be read, lacks a column, or a row has more or fewer cells than there are columns; the message
            says where.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            columns = next(lines, [])
            for name in required:
                if name not in columns:
                    raise BadInput(f"{path}: lacks the column {name!r}")
            for cells in lines:
                if not "".join(cells).strip():
                    continue
                if len(cells) != len(columns):
                    raise BadInput(f"{path}, line {lines.line_num}: {len(cells)} cells, expected {len(columns)}")
                yield lines.line_num, dict(zip(columns, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        place = f", line {lines.line_num}" if isinstance(error, csv.Error) else ""
        raise BadInput(f"{path}{place}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """A CSV file with these columns; as `write_atomically`."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_atomically(path, text.getvalue())


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
