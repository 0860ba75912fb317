"""Where things are kept, and whether they can be kept there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

OWN = 0o700  # what is in a cache is believed, and partly executed: nobody else may put anything there


class Unusable(Exception):
    """Nothing can be kept there; the message says in one line where and why."""


def root() -> Path | None:
    """The folder of everything that l2o keeps for later: $L2O_CACHE, or l2o in the user's cache; None when L2O_CACHE=off.

    Raises:
        Unusable: there is no home folder to have it in.
    """
    chosen = os.environ.get("L2O_CACHE", "")
    if chosen.lower() == "off":
        return None
    try:
        if chosen:
            return Path(chosen).expanduser().absolute()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "l2o"
    except (RuntimeError, OSError):  # an unknown user without $HOME; a current folder that is gone
        raise Unusable("there is no home folder; L2O_CACHE=DIR says where to keep things, L2O_CACHE=off to keep none") from None


def runs() -> Path | None:
    """Where finished runs are kept: $L2O_RUNS, or `runs` in the root; None if either is off. Unusable as `root`."""
    chosen = os.environ.get("L2O_RUNS", "")
    if chosen.lower() == "off":
        return None
    if not chosen:
        folder = root()
        return None if folder is None else folder / "runs"
    try:
        return Path(chosen).expanduser().absolute()
    except (RuntimeError, OSError):
        raise Unusable(f"L2O_RUNS={chosen} is no folder of a known user") from None


def compiled() -> Path | None:
    """Where compiled code is kept, in a folder for each kind; None if nothing is. Unusable as `root`."""
    folder = root()
    return None if folder is None else folder / "xla"


def claim(*folders: Path) -> None:
    """Make the folders, for this user alone, outer ones first; Unusable if others may write to one, or this user may not."""
    for folder in folders:
        try:
            for place in (*reversed(folder.parents), folder):
                if not place.exists():
                    place.mkdir(OWN, exist_ok=True)
        except OSError as error:
            raise Unusable(f"{folder}: {error.strerror or error}") from None
        check(folder)


def check(folder: Path) -> None:
    """Unusable if others may write to a folder, or this user may not; a folder that is not there is none of that."""
    try:
        info = folder.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unusable(f"{folder}: {error.strerror or error}") from None
    if not stat.S_ISDIR(info.st_mode):
        raise Unusable(f"{folder} is not a folder")
    if hasattr(os, "geteuid"):
        if info.st_uid != os.geteuid():
            raise Unusable(f"{folder} belongs to another user")
        if info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and not _group_of_its_own(info)):
            raise Unusable(f"{folder} can be written by others; chmod go-w makes it safe")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Unusable(f"{folder} cannot be written")


def _group_of_its_own(info: os.stat_result) -> bool:
    """Whether the group is that of one user alone, as Debian and Fedora give every user one, with a umask that lets it write."""
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(info.st_uid), grp.getgrgid(info.st_gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and not group.gr_mem
