"""Which files of a data directory belong into a base backup, and how they are dealt out to partitions.

What PostgreSQL itself leaves out (src/backend/backup/basebackup.c) is left out here. The directories themselves stay,
because PostgreSQL expects them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TARGET = 256 << 20  # bytes of files in a partition, unless a single file has more
MEMBERS = 4096  # files in a partition
CONTROL = "global/pg_control"  # copied last, by itself
# Directories at the top whose content is made anew at each start, or belongs to this server only.
_EMPTIED = {"pg_wal", "pg_replslot", "pg_stat_tmp", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_subtrans"}
_ANYWHERE = re.compile(r"pgsql_tmp.*|pg_internal\.init.*|lost\+found")
_TOP = {"postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "patroni.dynamic.json", "backup_manifest",
        "backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old", "postgresql.auto.conf.tmp",
        "current_logfiles.tmp"}
_TEMPORARY = re.compile(r"t\d+_\d+(_(fsm|vm|init))?(\.\d+)?")
_RELATION = re.compile(r"(\d+)(?:_(?:fsm|vm))?(?:\.\d+)?")
_DATABASE = re.compile(r"(base/\d+|pg_tblspc/\d+/PG_[^/]*/\d+)")


@dataclass(frozen=True)
class Item:
    """A file of `size` bytes when it was listed, or a directory (None); `name` is its path in the backup."""

    name: str
    path: str
    size: int | None


@dataclass
class Listing:
    """`items` in the order of the directory, `tablespaces` where each is, by OID."""

    items: list[Item] = field(default_factory=list)
    tablespaces: dict[int, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(one.size or 0 for one in self.items)


def walk(data: Path) -> Listing:
    """Everything in `data` that a backup holds but pg_control. What vanishes meanwhile was not needed."""
    found = Listing()
    _folder(found, str(data), "")
    for name in ("pg_wal/archive_status", "pg_wal/summaries"):
        found.items.append(Item(name, str(data / name), None))
    return found


def _folder(found: Listing, path: str, name: str) -> None:
    """Add what is in the directory at `path`, `name` in the backup with a / at its end unless it is the top."""
    entries = sorted(_entries(path), key=lambda entry: entry.name)
    unlogged = _unlogged([entry.name for entry in entries]) if _DATABASE.fullmatch(name.rstrip("/")) else set()
    for entry in entries:
        full = name + entry.name
        if _ANYWHERE.fullmatch(entry.name) or full in _TOP or full == CONTROL or _left_out(name, entry.name, unlogged):
            continue
        state = _state(entry, follow=full in _EMPTIED)
        if state is None:
            continue
        if stat.S_ISDIR(state.st_mode):
            found.items.append(Item(full, entry.path, None))
            if full not in _EMPTIED:
                _folder(found, entry.path, f"{full}/")
        elif stat.S_ISREG(state.st_mode):
            found.items.append(Item(full, entry.path, state.st_size))
        elif stat.S_ISLNK(state.st_mode) and name == "pg_tblspc/" and entry.name.isdigit():
            found.tablespaces[int(entry.name)] = os.readlink(entry.path)
            _folder(found, entry.path, f"{full}/")


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from entries
    except FileNotFoundError:
        return


def _state(entry: os.DirEntry[str], follow: bool) -> os.stat_result | None:
    try:
        return os.stat(entry.path, follow_symlinks=follow)
    except FileNotFoundError:
        return None


def _unlogged(names: list[str]) -> set[str]:
    """The relations whose content is thrown away by recovery: those that have an `_init` file."""
    return {name.removesuffix("_init") for name in names if name.endswith("_init")}


def _left_out(folder: str, name: str, unlogged: set[str]) -> bool:
    """Whether a file in a database's directory is of a temporary relation, or of an unlogged one and not its `_init`."""
    if not _DATABASE.fullmatch(folder.rstrip("/")):
        return False
    match = _RELATION.fullmatch(name)
    return bool(_TEMPORARY.fullmatch(name)) or (match is not None and match[1] in unlogged)


def deal(items: list[Item], target: int = TARGET, members: int = MEMBERS) -> list[list[Item]]:
    """The items in partitions of about `target` bytes, in their order; a larger file is alone."""
    parts: list[list[Item]] = []
    have = 0
    for item in items:
        size = item.size or 0
        if not parts or have + size > target or len(parts[-1]) >= members:
            parts.append([])
            have = 0
        parts[-1].append(item)
        have += size
    return parts
