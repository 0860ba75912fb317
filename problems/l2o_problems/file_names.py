"""`FILE.py:NAME`, the name of a problem in a file."""

from __future__ import annotations

from pathlib import Path


def is_file_name(name: str) -> bool:
    return ".py:" in name


def located(name: str, folder: Path) -> str:
    """`name` with the path of its file made absolute, a relative one being relative to `folder`; other names as they are."""
    if not is_file_name(name):
        return name
    file, _, attribute = name.rpartition(":")
    return f"{(folder / Path(file).expanduser()).resolve()}:{attribute}"
