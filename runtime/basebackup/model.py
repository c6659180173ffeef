"""What a listing of an archive means: backups, the WAL behind them, and how far both together reach. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from runtime import wal
from runtime.wal import DEFAULT_SIZE, Segment, Stretch


@dataclass(frozen=True)
class Part:
    """A partition: `key` below the prefix, `stored` bytes in the store, `size` bytes of files in it (None: not known)."""

    key: str
    stored: int
    size: int | None = None


@dataclass(frozen=True)
class Backup:
    """A base backup. `finished` in seconds since the epoch, `guessed`: only from the store's clock. `size` is that of its
    files, `stored` of its objects. `problem` says why it cannot be used whatever WAL there is, None: nothing known.
    `readable`: False where something about it could not be made sense of. `tablespaces`: places by OID."""

    name: str
    timeline: int
    start_lsn: int
    stop_lsn: int | None
    finished: float | None
    size: int | None
    stored: int
    parts: tuple[Part, ...]
    complete: bool
    tool: str
    version: str = ""
    segment_size: int = DEFAULT_SIZE
    system: str | None = None
    seconds: float | None = None
    guessed: bool = False
    problem: str | None = None
    readable: bool = True
    modified: float = 0.0
    tablespaces: Mapping[int, str] = field(default_factory=dict)
    drill: dict[str, Any] | None = None

    @property
    def order(self) -> tuple[float, int, int]:
        """Backups sort by when they were finished, then by timeline and position."""
        return self.finished or self.modified, self.timeline, self.start_lsn

    @property
    def proven(self) -> bool:
        """Whether a restore drill of it went well."""
        return bool(self.drill) and self.drill is not None and self.drill.get("result") == "ok"


@dataclass(frozen=True)
class Reach:
    """How far a backup comes with the archive's WAL, along one timeline: from its own end up to `end` (position) on the
    timeline `timeline`; `until`: about when the last of that was archived; `hole`: the first segment that is missing while
    later ones are there."""

    backup: Backup
    timeline: int
    end: int
    until: float | None
    hole: str | None


@dataclass(frozen=True)
class Catalog:
    """Everything there is: `backups` by age, incomplete ones too; `histories`: content of the .history files by timeline;
    `segments`: when each was stored; `others`: further names in the WAL folder, as they are there; `system`: whose archive
    it is; `strange`: objects that were to say something about a backup and cannot be read; `leftovers`: descriptions of
    backups that are gone."""

    backups: tuple[Backup, ...]
    histories: Mapping[int, str] = field(default_factory=dict)
    segments: Mapping[Segment, float] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    system: str | None = None
    strange: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()

    @cached_property
    def segment_size(self) -> int:
        return self.backups[-1].segment_size if self.backups else DEFAULT_SIZE

    @cached_property
    def last_timeline(self) -> int:
        """The newest timeline that anything in the archive belongs to; 1 where there is nothing."""
        return max({1, *self.histories, *(one.timeline for one in self.segments),
                    *(one.timeline for one in self.backups if one.complete)})

    @property
    def empty(self) -> bool:
        """Whether nothing was ever archived here."""
        return not (self.backups or self.histories or self.segments or self.others)

    def find(self, name: str) -> Backup | None:
        """The backup of this name; LATEST is the newest complete one."""
        if name == "LATEST":
            return next((one for one in reversed(self.backups) if one.complete), None)
        return next((one for one in self.backups if one.name == name), None)

    def path(self, timeline: int) -> list[Stretch]:
        """The way of the log to `timeline`. Where its .history is not there, nothing is known before it."""
        return wal.path(timeline, self.histories.get(timeline))

    def why_not(self, backup: Backup, timeline: int | None = None) -> str | None:
        """Why `backup` cannot be recovered along the way to `timeline` (None: the newest); None: it can."""
        if not backup.complete:
            return "it is not complete: it was interrupted, or is being made"
        if backup.problem:
            return backup.problem
        timeline = timeline or self.last_timeline
        if not wal.on_path(self.path(timeline), backup.timeline, backup.start_lsn):
            return f"timeline {backup.timeline} at {wal.show_lsn(backup.start_lsn)} is not on the way to timeline {timeline}"
        end = backup.stop_lsn if backup.stop_lsn is not None else backup.start_lsn + 1
        if not wal.on_path(self.path(timeline), backup.timeline, end):
            return f"timeline {timeline} left timeline {backup.timeline} before the backup ended"
        missing = self.holes(backup, end, timeline)
        return f"WAL that it needs is missing: {_some(missing)}" if missing else None

    def usable(self, timeline: int | None = None) -> list[Backup]:
        """The backups that can be recovered along the way to `timeline`, by age."""
        return [one for one in self.backups if self.why_not(one, timeline) is None]

    def newest(self, timeline: int | None = None, *, time: float | None = None, lsn: int | None = None) -> Backup | None:
        """The newest usable backup that was finished by `time` (seconds since the epoch), or that ends at or before the
        position `lsn`; None where there is none."""
        found = [one for one in self.usable(timeline)
                 if (time is None or (one.finished or 0) <= time)
                 and (lsn is None or (one.stop_lsn if one.stop_lsn is not None else one.start_lsn) <= lsn)]
        return found[-1] if found else None

    def holes(self, backup: Backup, upto: int, timeline: int | None = None) -> list[str]:
        """The segments that recovery of `backup` up to position `upto` on the way to `timeline` (None: the backup's own)
        needs, and that are not in the archive."""
        size = backup.segment_size
        stretches = self.path(timeline or backup.timeline)
        needed = wal.needed(stretches, backup.start_lsn, upto, size)
        return [one.name(size) for one in needed if one not in self.segments]

    def reach(self, backup: Backup, timeline: int | None = None) -> Reach:
        """How far `backup` comes along the way to `timeline` (None: the newest)."""
        timeline = timeline or self.last_timeline
        stretches, size = self.path(timeline), backup.segment_size
        number, until, on = backup.start_lsn // size, None, backup.timeline
        while (segment := _at(stretches, number, size)) in self.segments:
            until, on = max(until or 0.0, self.segments[segment]), segment.timeline
            number += 1
        behind = any(one.number > number and _at(stretches, one.number, size) == one for one in self.segments)
        end = max(number * size, backup.start_lsn)
        return Reach(backup, on, end, until, segment.name(size) if behind else None)


def _at(stretches: list[Stretch], number: int, size: int) -> Segment:
    """The segment `number` along the way."""
    return wal.needed(stretches, number * size, (number + 1) * size, size)[0]


def _some(names: Iterable[str]) -> str:
    """The first and the last of some names."""
    all_of = list(names)
    return ", ".join(all_of) if len(all_of) <= 3 else f"{all_of[0]} to {all_of[-1]}, {len(all_of)} segments"
