"""What a data directory says about itself, read from its files, without a server."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path


def is_empty(data: Path) -> bool:
    """Whether there is no data directory, or nothing in it (a file system's `lost+found` does not count)."""
    try:
        return all(name == "lost+found" for name in os.listdir(data))
    except FileNotFoundError:
        return True


def major_version(data: Path) -> str | None:
    """The content of PG_VERSION ("17"), or None."""
    try:
        return (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def system_identifier(data: Path) -> str | None:
    """The system identifier of the cluster that the files belong to, or None where there is no pg_control.

    It is the first 8 bytes of global/pg_control in the byte order of the machine (src/include/catalog/pg_control.h).
    """
    try:
        head = (data / "global" / "pg_control").read_bytes()[:8]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return str(struct.unpack("=Q", head)[0]) if len(head) == 8 else None


BEGINNING = "a cluster begins here\n"  # in the file `unfinished`: not a replica, but the governor's


def unfinished(data: Path) -> Path:
    """The file beside a data directory that says: an unfinished copy of ours, never in use, of no value."""
    return data.with_name(f"{data.name}.copying")


def clear(data: Path) -> None:
    """Remove everything in a data directory, and what its tablespaces hold."""
    for link in (data / "pg_tblspc").glob("*"):
        if link.is_symlink():
            for entry in Path(os.path.realpath(link)).glob("PG_*"):
                shutil.rmtree(entry, ignore_errors=True)
    for name in os.listdir(data) if data.is_dir() else ():
        path = data / name
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif name != "lost+found":
            shutil.rmtree(path)
