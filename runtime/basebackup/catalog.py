"""Reads a store: which backups there are, whether each is whole, and which WAL lies behind them.

Backups are ordered by their own finish time: ours from their description, those of a stock wal-e from the .backup file
that PostgreSQL archived with them. The time of the object counts only where there is nothing better, and is marked.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from runtime import lzop, wal
from runtime.basebackup import info, layout
from runtime.basebackup.model import Backup, Catalog, Part, Reach
from runtime.store import Absent, Object, Store
from runtime.wal import DEFAULT_SIZE, Kind, Segment

__all__ = ["Backup", "Catalog", "Part", "Reach", "read"]
AT_ONCE = 8  # small objects that are asked for at the same time


def read(store: Store) -> Catalog:
    """What is in the store now. Raises StoreError where any of it could not be listed or fetched: a catalog is whole, or it
    is none. What was fetched and makes no sense is in `strange`."""
    found, complete = _backups(store)
    segments, others = _wal(store)
    descriptions = {one.key for folder in (layout.INFO, layout.DRILLS) for one in store.list(folder)}
    files = [name.removesuffix(layout.SUFFIX) for name in others if name.endswith(layout.SUFFIX)]
    labels = {name[:24]: name for name in files if wal.kind(name) is Kind.BACKUP}
    histories = [name for name in files if wal.kind(name) is Kind.HISTORY]

    def backup(name: str) -> Backup:
        bare = info.listed(name, [(one.key, one.size, one.modified) for one in found[name]], name in complete)
        return _described(store, bare, descriptions, labels.get(layout.first_segment(name)))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        texts = dict(zip(histories, pool.map(lambda name: _history(store, name), histories), strict=True))
        backups = sorted(pool.map(backup, sorted(found)), key=lambda one: one.order)
    strange = [layout.folder(one.name) for one in backups if not one.readable]
    strange += [f"{layout.WAL}{name}" for name, text in texts.items() if text is None]
    size = backups[-1].segment_size if backups else DEFAULT_SIZE
    return Catalog(
        tuple(backups), {int(name[:8], 16): text for name, text in texts.items() if text is not None},
        {Segment.parse(name, size): modified for name, modified in segments.items() if _fits(name, size)},
        tuple(others), _system(store), tuple(strange),
        tuple(sorted(key for key in descriptions if key.rpartition("/")[2].removesuffix(".json") not in found)))


def _backups(store: Store) -> tuple[dict[str, list[Object]], set[str]]:
    """(objects by backup, names of those that have a sentinel)."""
    found: dict[str, list[Object]] = {}
    complete: set[str] = set()
    for one in store.list(layout.BASE):
        place = layout.place(one.key)
        if place:
            found.setdefault(place.backup, []).append(one)
            if place.kind == "sentinel":
                complete.add(place.backup)
    return found, complete


def _wal(store: Store) -> tuple[dict[str, float], list[str]]:
    """(when each segment was stored, names of the other files) of the archived WAL."""
    segments, others = {}, []
    for one in store.list(layout.WAL):
        name = one.key.removeprefix(layout.WAL)
        if name.endswith(layout.SUFFIX) and wal.kind(name.removesuffix(layout.SUFFIX)) is Kind.SEGMENT:
            segments[name.removesuffix(layout.SUFFIX)] = one.modified
        else:
            others.append(name)
    return segments, others


def _fits(name: str, size: int) -> bool:
    try:
        return bool(Segment.parse(name, size))
    except ValueError:
        return False


def _text(store: Store, name: str) -> str:
    """A small file of the archived WAL; raises ValueError where it is damaged."""
    return lzop.unpack(store.get(f"{layout.WAL}{name}{layout.SUFFIX}")).decode()


def _history(store: Store, name: str) -> str | None:
    """The content of a .history file, None for one that makes no sense."""
    try:
        text = _text(store, name)
        wal.path(int(name[:8], 16), text)
        return text
    except ValueError:
        return None


def _described(store: Store, bare: Backup, descriptions: set[str], label: str | None) -> Backup:
    """The backup with everything that the store has on it."""
    backup = replace(bare, drill=_drill(store, bare.name, descriptions))
    try:
        if layout.info(backup.name) in descriptions:
            return info.apply(backup, store.get(layout.info(backup.name)))
        return _stock(store, backup, label) if backup.complete else backup
    except ValueError as error:
        return replace(backup, readable=False, problem=f"its description cannot be read: {error}")


def _stock(store: Store, backup: Backup, label: str | None) -> Backup:
    """A complete backup that a stock wal-e made."""
    size, finished, start, stop = DEFAULT_SIZE, None, backup.start_lsn, None
    if label:
        try:
            said = info.parse_history(label, _text(store, label))
            size, finished, start, stop = said.segment_size or size, said.finished, said.start, said.stop
        except ValueError:
            pass  # the sentinel says nearly as much
    end, expanded, tablespaces = info.parse_sentinel(store.get(layout.sentinel(backup.name)), size)
    try:
        version = store.get(layout.version(backup.name)).decode("utf-8", "replace").strip()
    except Absent:
        version = ""
    return replace(backup, start_lsn=start, stop_lsn=stop if stop is not None else end, segment_size=size, size=expanded,
                   tablespaces=tablespaces, version=version, finished=finished or backup.modified, guessed=finished is None,
                   problem=_gap(backup))


def _gap(backup: Backup) -> str | None:
    """A partition that the numbers of the others say there was, None where there is no gap. The last may have any number."""
    numbers = [int(part.key[-16:-8]) for part in backup.parts]
    lost = [number for number, found in enumerate(sorted(numbers)[:-1]) if number != found]
    if lost:
        return f"{layout.part(backup.name, lost[0]).rpartition('/')[2]} is missing"
    return None if numbers else "it has no partitions"


def _drill(store: Store, name: str, descriptions: set[str]) -> dict[str, Any] | None:
    """What the last restore drill of the backup found, None where there was none, or it cannot be read."""
    if layout.drill(name) not in descriptions:
        return None
    try:
        value = json.loads(store.get(layout.drill(name)))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _system(store: Store) -> str | None:
    """The system identifier of the cluster that the archive belongs to, None where nobody wrote it down."""
    try:
        return str(json.loads(store.get(layout.SYSTEM))["system_identifier"])
    except (Absent, ValueError, KeyError, TypeError):
        return None
