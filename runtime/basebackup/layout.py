"""Where the objects of an archive are, relative to its prefix: WAL-E's layout, and our additions under spilo_005/."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.wal import Segment

WAL = "wal_005/"
BASE = "basebackups_005/"
INFO = "spilo_005/backups/"
DRILLS = "spilo_005/drills/"
SYSTEM = "spilo_005/system.json"
SUFFIX = ".lzo"
_SENTINEL = "_backup_stop_sentinel.json"
_NAME = re.compile(r"base_([0-9A-F]{24})_([0-9A-F]{8})")


@dataclass(frozen=True)
class Place:
    """An object of a base backup: `kind` is `part`, `sentinel`, `version` or `other`."""

    backup: str
    kind: str


def name(segment: Segment, offset: int, size: int) -> str:
    """The name of a backup that starts at byte `offset` of `segment`. WAL-E writes the offset in decimal digits, cut off
    after eight: it tells backups apart, the position itself is to be taken from elsewhere."""
    return f"base_{segment.name(size)}_{f'{offset:08d}'[:8]}"


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def first_segment(backup: str) -> str:
    """The name of the WAL segment in which a backup starts."""
    return backup[5:29]


def offset(backup: str) -> int | None:
    """Where in that segment, as far as the name says it."""
    digits = backup[30:]
    return int(digits) if digits.isdecimal() else None


def folder(backup: str) -> str:
    return f"{BASE}{backup}/"


def part(backup: str, number: int) -> str:
    return f"{folder(backup)}tar_partitions/part_{number:08d}.tar.lzo"


def version(backup: str) -> str:
    return f"{folder(backup)}extended_version.txt"


def sentinel(backup: str) -> str:
    return f"{BASE}{backup}{_SENTINEL}"


def info(backup: str) -> str:
    return f"{INFO}{backup}.json"


def drill(backup: str) -> str:
    return f"{DRILLS}{backup}.json"


def place(key: str) -> Place | None:
    """What the object `key` below BASE is; None for one that belongs to no backup."""
    head, slash, rest = key.removeprefix(BASE).partition("/")
    if not slash:
        backup = head.removesuffix(_SENTINEL)
        return Place(backup, "sentinel") if head != backup and is_name(backup) else None
    if not is_name(head):
        return None
    if re.fullmatch(r"tar_partitions/part_\d+\.tar\.lzo", rest):
        return Place(head, "part")
    return Place(head, "version" if rest == "extended_version.txt" else "other")
