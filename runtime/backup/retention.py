"""Which backups and which WAL are not wanted any more: a pure function of what there is. In doubt everything stays.

A backup stays while the count or the days want it, and so does the newest that a restore drill has proven. WAL stays from
the oldest start among all that remains, by the number of the segment, whatever its timeline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime import wal
from runtime.basebackup import layout
from runtime.basebackup.model import Backup, Catalog
from runtime.wal import Kind, Segment

DAY = 86400.0
ORPHAN = DAY  # seconds without a new object, after which an incomplete backup is nobody's


@dataclass(frozen=True)
class Plan:
    """`keep` with the reasons why; `remove`; `orphans`: incomplete backups to remove; `wal`: keys to delete; `leftovers`:
    descriptions of backups that are gone; `horizon`: the name of the first segment that stays, without its timeline;
    `refused`: why nothing may be deleted at all."""

    keep: tuple[tuple[Backup, str], ...] = ()
    remove: tuple[Backup, ...] = ()
    orphans: tuple[Backup, ...] = ()
    wal: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    horizon: str = ""
    refused: str | None = None

    @property
    def nothing(self) -> bool:
        return not (self.remove or self.orphans or self.wal or self.leftovers)


def plan(catalog: Catalog, count: int, days: int, now: float) -> Plan:
    """What to delete at the moment `now` (seconds since the epoch), to keep `count` backups and all that any moment of the
    last `days` days needs."""
    if catalog.strange:
        return Plan(refused=f"it cannot be told what {catalog.strange[0]} is")
    good = catalog.usable()
    if not good:
        return Plan(refused="there is no usable backup, so whatever there is may be the last")
    reasons = _reasons(good, max(count, 1), days, now)
    window = min((one for one in good if _wanted(reasons[one.name])), key=lambda one: one.order)
    remove: list[Backup] = []
    orphans: list[Backup] = []
    keep: list[Backup] = []
    for one in catalog.backups:
        if not one.complete:
            orphan = now - one.modified > ORPHAN
            (orphans if orphan else keep).append(one)
        elif reasons.get(one.name) or one.order >= window.order:
            keep.append(one)
        else:
            remove.append(one)
    first = min(one.start_lsn // one.segment_size if one.complete else _first(one, catalog.segment_size) for one in keep)
    made = Plan(
        tuple((one, ", ".join(reasons.get(one.name) or [catalog.why_not(one) or "it is newer"])) for one in keep),
        tuple(remove), tuple(orphans), tuple(_wal(catalog, first)), catalog.leftovers,
        Segment(0, first).name(catalog.segment_size)[8:])
    return _checked(catalog, made, good)


def _reasons(good: list[Backup], count: int, days: int, now: float) -> dict[str, list[str]]:
    """Why each of the usable backups, which are sorted by age, stays."""
    reasons: dict[str, list[str]] = {one.name: [] for one in good}
    for one in good[-count:]:
        reasons[one.name].append(f"among the newest {count}")
    before = [one for one in good if (one.finished or 0) <= now - days * DAY]
    for one in good[good.index(before[-1]) if before else 0 :]:
        reasons[one.name].append(f"needed for the last {days} days")
    proven = [one for one in good if one.proven]
    if proven:
        reasons[proven[-1].name].append("the newest that a drill has proven")
    return reasons


def _wanted(reasons: list[str]) -> bool:
    """Whether count or days want it."""
    return any(not one.startswith("the newest that") for one in reasons)


def _first(backup: Backup, size: int) -> int:
    """The number of the segment in which an incomplete backup started, as its name says."""
    return Segment.parse(layout.first_segment(backup.name), size).number


def _wal(catalog: Catalog, first: int) -> list[str]:
    """Keys of everything before segment number `first`, but the histories of timelines."""
    size = catalog.segment_size
    names = [f"{one.name(size)}{layout.SUFFIX}" for one in sorted(catalog.segments) if one.number < first]
    for other in catalog.others:
        bare = other.removesuffix(layout.SUFFIX)
        if bare != other and wal.kind(bare) in (Kind.PARTIAL, Kind.BACKUP) and Segment.parse(bare, size).number < first:
            names.append(other)
    return [f"{layout.WAL}{name}" for name in names]


def _checked(catalog: Catalog, made: Plan, good: list[Backup]) -> Plan:
    """The plan, after making sure that every usable backup that stays reaches as far without what goes."""
    going = set(made.wal)
    size = catalog.segment_size
    after = replace(catalog, segments={one: at for one, at in catalog.segments.items()
                                       if f"{layout.WAL}{one.name(size)}{layout.SUFFIX}" not in going})
    for one, _ in made.keep:
        if one in good and (after.why_not(one) or after.reach(one).end != catalog.reach(one).end):
            return Plan(refused=f"it would take WAL away that {one.name} needs; please report this")
    return made
