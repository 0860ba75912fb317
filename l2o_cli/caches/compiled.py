"""The machine code that TensorFlow keeps of what XLA compiled.

TensorFlow believes whatever an entry says: a flipped bit is another number or a crash. So each entry has a checksum here, written
soon after the entry, and all are verified while TensorFlow is being imported; what does not match is removed, and so is what has
no checksum, as the process that made it was killed. TensorFlow also fails where it cannot write an entry. So it knows the folder
under the name of an open file descriptor, which can be made to mean another folder at any time.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from l2o_cli.caches.places import Unusable
from l2o_cli.errors import warn

INDEX = "checksums"  # lines of name, size, CRC-32; the last one of a name counts
ENTRY = re.compile(r"xla_compile_cache_\w+\.pb")
UNFINISHED = re.compile(r"xla_compile_cache_.*\.tmp")

LEAST_FREE = 200_000_000  # bytes on the disk, with less of which nothing is kept
LOOK = 1.0  # seconds between looks for new entries
PATIENCE = 60.0  # seconds that a compilation waits for the verification
FORGOTTEN = 3600.0  # seconds after which an unfinished entry is nobody's

# TensorFlow on an entry that it cannot read or write.
_FAULT = re.compile(
    r"Serialized (cache key|HLO) does not match|Failed to parse serialized CpuAotCompilationResult"
    r"|xla_compile_cache_|Read less bytes than requested"
)


class CompiledCode:
    """One folder of entries, for code that this machine and this TensorFlow can run, in use by this process.

    Raises:
        Unusable: TensorFlow could not write there.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: set[str] = set()  # entries with a checksum
        self._noted = 0  # when the folder was last looked through, as its time of modification
        self._ready = threading.Event()
        self._lock = threading.Lock()
        self._instead: str | None = None  # the folder that TensorFlow has in place of this one
        _check_space(folder)
        try:
            self._handle = os.open(folder, os.O_RDONLY)
        except OSError as error:
            raise Unusable(f"{folder}: {error.strerror}") from None
        self.name = f"/proc/{os.getpid()}/fd/{self._handle}"
        if not os.path.isdir(self.name):  # not on Linux
            self.name = str(folder)
            if set(self.name) & set("'\"\\"):
                raise Unusable(f"{folder}: TensorFlow takes no such signs in the name of a folder")

    @property
    def flags(self) -> str:
        """TF_XLA_FLAGS for TensorFlow to use it."""
        return f"--tf_xla_persistent_cache_directory='{self.name}' --tf_xla_persistent_cache_read_only=false"

    def keep(self, then: Callable[[], None]) -> None:
        """Verify it in a thread of its own, do what comes `then`, and write checksums of new entries until the process ends."""

        def run() -> None:
            try:
                self.verify()
            except Exception as error:  # whatever it is, the first compilation waits for the end of this
                self._leave(f"{type(error).__name__}: {error}")
            self._ready.set()
            with contextlib.suppress(OSError):
                then()
            while self._instead is None:
                time.sleep(LOOK)
                self.note()

        threading.Thread(target=run, daemon=True, name="compiled code").start()
        atexit.register(self.note)

    def wait(self) -> None:
        """Until it is verified, before the first compilation."""
        if not self._ready.wait(PATIENCE):
            self._leave(f"{self.folder} is so slow that it could not be verified")

    def verify(self) -> bool:
        """Remove what does not match its checksum; whether there was nothing like that. OSError if it cannot be removed."""
        sums, lines = self._sums()
        names = os.listdir(self.folder)
        entries = [name for name in names if ENTRY.fullmatch(name)]
        if any(name not in sums and self._age(name) < 3 * LOOK for name in entries):
            # Another process made them just now, and is about to write their checksums.
            time.sleep(1.5 * LOOK)
            sums, lines = self._sums()
        found = {name: _sum(self.folder / name) for name in entries}
        kept = {name: sum_ for name, sum_ in found.items() if sum_ is not None and sum_ == sums.get(name)}
        forgotten = {name for name in names if UNFINISHED.fullmatch(name) and self._age(name) > FORGOTTEN}
        for name in found.keys() - kept.keys() | forgotten:
            (self.folder / name).unlink(missing_ok=True)
        self._known = set(kept)
        if lines > 2 * len(kept) + 100:
            self._write_anew(kept)
        return len(kept) == len(entries)

    def note(self) -> None:
        """Write checksums of the entries that are new."""
        with self._lock, contextlib.suppress(OSError):
            changed = self.folder.stat().st_mtime_ns
            if changed == self._noted or not self._ready.is_set():
                return
            # A file that comes within the same tick of the clock does not change the time.
            self._noted = changed if time.time() - changed / 1e9 > LOOK else 0
            new = {entry.name for entry in os.scandir(self.folder) if ENTRY.fullmatch(entry.name)} - self._known
            found = {name: sum_ for name in new if (sum_ := _sum(self.folder / name)) is not None}
            lines = "".join(f"{name} {sum_}\n" for name, sum_ in found.items())
            if lines:
                with (self.folder / INDEX).open("a") as file:
                    file.write(lines)
            self._known |= set(found)

    def is_at_fault(self, error: BaseException) -> bool:
        """Whether TensorFlow failed with `error` because it could not write an entry, or read one."""
        text = str(error)
        return self.name in text or str(self.folder) in text or _FAULT.search(text) is not None

    def left(self, error: BaseException) -> bool:
        """Whether it is the fault of an entry and TensorFlow has an empty folder instead, so that it may be called again."""
        self.note()
        try:
            damaged = not self.verify()
        except OSError:
            damaged = True
        return (damaged or self.is_at_fault(error)) and self._leave(" ".join(str(error).split("[[")[0].split())[-200:])

    def _leave(self, why: str) -> bool:
        import tempfile

        with self._lock:
            if self._instead is None and self.name != str(self.folder):
                for place in ("/dev/shm", None):  # None: where temporary files are
                    with contextlib.suppress(OSError):
                        self._instead = tempfile.mkdtemp(prefix="l2o-", dir=place)
                        other = os.open(self._instead, os.O_RDONLY)
                        os.dup2(other, self._handle)
                        os.close(other)
                        break
                if self._instead is not None:
                    atexit.register(_remove, self._instead, os.getpid())
                    warn(f"the compilation cache is left alone from here on, everything is compiled anew: {why}")
            return self._instead is not None

    def _age(self, name: str) -> float:
        return time.time() - (self.folder / name).stat().st_mtime

    def _sums(self) -> tuple[dict[str, str], int]:
        """{name: size and CRC-32} and the number of lines they were written in."""
        try:
            lines = (self.folder / INDEX).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return {}, 0
        return {name: sum_ for name, _, sum_ in (line.partition(" ") for line in lines)}, len(lines)

    def _write_anew(self, sums: dict[str, str]) -> None:
        """What another process writes at this moment is lost, and the entry will be made again."""
        temporary = self.folder / f"{INDEX}.{os.getpid()}.tmp"
        temporary.write_text("".join(f"{name} {sum_}\n" for name, sum_ in sums.items()))
        temporary.replace(self.folder / INDEX)


def _sum(path: Path) -> str | None:
    """Size and CRC-32 of a file, at more than a gigabyte a second; None if it cannot be read."""
    try:
        # The time of last access is TensorFlow's, by which entries that nobody reads are told.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOATIME", 0)), "rb") as file:
            content = file.read()
    except OSError:
        return None
    return f"{len(content)} {zlib.crc32(content):08x}"


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _check_space(folder: Path) -> None:
    """Unusable if a compilation might not find room there."""
    least = f"{LEAST_FREE // 1_000_000} MB"
    with contextlib.suppress(ImportError, OSError):
        import resource

        if 0 <= resource.getrlimit(resource.RLIMIT_FSIZE)[0] < LEAST_FREE:
            raise Unusable(f"this process may not write files of {least}")
    if hasattr(os, "statvfs"):
        try:
            disk = os.statvfs(folder)
        except OSError as error:
            raise Unusable(f"{folder}: {error.strerror}") from None
        if disk.f_bavail * disk.f_frsize < LEAST_FREE or (disk.f_files and not disk.f_favail):
            raise Unusable(f"less than {least} are free on the disk of {folder}")
