"""The description of a backup: ours as JSON under spilo_005/, and what a stock wal-e leaves about its own."""

from __future__ import annotations

import calendar
import json
import re
import time
from dataclasses import dataclass, replace
from typing import Any

from runtime.basebackup import layout
from runtime.basebackup.model import Backup, Part
from runtime.wal import DEFAULT_SIZE, Segment, parse_lsn, show_lsn

FORMAT = 1


def dump(backup: Backup) -> bytes:
    """Our description of a backup that is about to be completed."""
    value = {
        "format": FORMAT, "name": backup.name, "system": backup.system, "timeline": backup.timeline,
        "start_lsn": show_lsn(backup.start_lsn), "stop_lsn": show_lsn(backup.stop_lsn or 0),
        "segment_size": backup.segment_size, "finished": backup.finished, "seconds": backup.seconds,
        "size": backup.size, "stored": backup.stored, "tool": backup.tool, "version": backup.version,
        "tablespaces": {str(oid): place for oid, place in backup.tablespaces.items()},
        "parts": [{"name": part.key.rpartition("/")[2], "size": part.size, "stored": part.stored} for part in backup.parts],
    }
    return json.dumps(value, indent=1).encode()


def apply(backup: Backup, text: bytes) -> Backup:
    """`backup`, known from a listing, with what our description says. Raises ValueError where that cannot be read."""
    try:
        raw = json.loads(text)
        if raw["name"] != backup.name:
            raise ValueError(f"it describes {raw['name']}")
        described = {part["name"]: part for part in raw["parts"]}
        full = replace(
            backup, timeline=int(raw["timeline"]), start_lsn=parse_lsn(raw["start_lsn"]), stop_lsn=parse_lsn(raw["stop_lsn"]),
            segment_size=int(raw["segment_size"]), finished=float(raw["finished"]), size=int(raw["size"]),
            tool=str(raw["tool"]), version=str(raw["version"]), system=raw["system"], seconds=raw["seconds"],
            tablespaces={int(oid): str(place) for oid, place in raw["tablespaces"].items()},
            parts=tuple(replace(part, size=described.get(part.key.rpartition("/")[2], {}).get("size")) for part in backup.parts))
        return replace(full, problem=_difference(full, {name: int(part["stored"]) for name, part in described.items()}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _difference(backup: Backup, described: dict[str, int]) -> str | None:
    """How the partitions in the store differ from those that were written; None for a backup that is all there."""
    there = {part.key.rpartition("/")[2]: part.stored for part in backup.parts}
    for name in sorted(described.keys() | there.keys()):
        if name not in there:
            return f"{name} is missing"
        if name not in described:
            return f"{name} does not belong to it"
        if there[name] != described[name]:
            return f"{name} has {there[name]} bytes, {described[name]} were written"
    return None


@dataclass(frozen=True)
class History:
    """What a .backup file of the WAL archive says: PostgreSQL's own record of a backup."""

    start: int
    stop: int
    segment_size: int | None
    finished: float | None


def parse_history(name: str, text: str) -> History:
    """From the content of the .backup file `name`; raises ValueError."""
    found = dict(re.findall(r"^([A-Z ]+): (.*)$", text, re.MULTILINE))
    try:
        start, stop = (parse_lsn(found[f"{word} WAL LOCATION"].split()[0]) for word in ("START", "STOP"))
        finished = found["STOP TIME"]
    except (KeyError, IndexError) as error:
        raise ValueError(f"it has no {error}") from None
    # The name has the segment in two halves and the offset in it, so the size of segments follows from the position.
    low, first = int(name[16:24], 16), start - int(name[25:33], 16)
    size = (first & 0xFFFFFFFF) // low if low else None
    return History(start, stop, size if size and not size & (size - 1) else None, _moment(finished))


def _moment(text: str) -> float | None:
    """Seconds since the epoch of a time as PostgreSQL writes it into labels, for zones that are UTC by any name; None for
    others, whose abbreviations are not unique. Raises ValueError."""
    moment, _, zone = text.strip().rpartition(" ")
    if zone not in ("UTC", "GMT", "Etc/UTC", "Z"):
        return None
    return float(calendar.timegm(time.strptime(moment, "%Y-%m-%d %H:%M:%S")))


def parse_sentinel(text: bytes, size: int) -> tuple[int | None, int | None, dict[int, str]]:
    """(position at which the backup ends, bytes of its files, tablespaces) from WAL-E's sentinel; raises ValueError."""
    try:
        raw: dict[str, Any] = json.loads(text)
        spec = raw.get("spec") or {}
        places = {int(oid): str(spec[oid]["loc"]) for oid in spec.get("tablespaces", [])}
        offset = str(raw["wal_segment_offset_backup_stop"])
        stop = None
        if offset.isdecimal():
            stop = Segment.parse(raw["wal_segment_backup_stop"], size).start(size) + int(offset)
        expanded = raw.get("expanded_size_bytes")
        return stop, None if expanded is None else int(expanded), places
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def listed(name: str, objects: list[tuple[str, int, float]], complete: bool) -> Backup:
    """A backup as the listing of its objects (key, size, modified) shows it, before anything is read."""
    segment = Segment.parse(layout.first_segment(name), DEFAULT_SIZE)
    parts = tuple(Part(key, size) for key, size, _ in objects if (at := layout.place(key)) and at.kind == "part")
    return Backup(
        name, segment.timeline, segment.start() + (layout.offset(name) or 0), None, None, None,
        sum(size for _, size, _ in objects), parts, complete, "wal-e",
        modified=max((modified for *_, modified in objects), default=0.0))
