"""Where a new replica comes from: the newest base backup in the store, or the primary itself. A pure decision.

The backup is taken when it can be recovered along the primary's own history, and only little WAL has to be replayed after
it: less than a given amount, and less than a given part of the backup's size. Positions are true ones, in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from runtime import wal
from runtime.basebackup.model import Backup, Catalog

BACKUP, LEADER = "from_backup", "from_leader"


@dataclass(frozen=True)
class Primary:
    """What the server that is to be streamed from says of itself. `history`: the content of the .history file of its
    timeline, None where there is none; `kept`: from where on it keeps WAL for the replica, None: nobody asked it to."""

    system: str
    timeline: int
    lsn: int
    history: str | None
    segment_size: int
    kept: int | None


@dataclass(frozen=True)
class Limits:
    """How much WAL may follow the backup: fewer megabytes than this, and less than this percentage of its size."""

    megabytes: int
    percentage: int

    def bytes(self, size: int) -> int:
        """The amount that is too much already, for a backup of `size` bytes."""
        return min(self.megabytes << 20, -(-size * self.percentage // 100))


@dataclass(frozen=True)
class Decision:
    """`method` and in one sentence why; what it was made from. `later`: waiting can change it. `wal`: bytes between the
    start of the backup and the primary's position; `limit`: what they have to be under; `end`: of the archive's WAL."""

    method: str
    reason: str
    limits: Limits
    primary: Primary | None = None
    backup: Backup | None = None
    wal: int | None = None
    limit: int | None = None
    end: int | None = None
    later: bool = False

    def fields(self) -> dict[str, Any]:
        """Every number, as it is logged and kept; None where it is not known."""
        return {"method": self.method, "reason": self.reason, **_backup(self.backup), **_primary(self.primary),
                "wal_bytes": self.wal, "limit_bytes": self.limit, "limit_megabytes": self.limits.megabytes,
                "limit_percentage": self.limits.percentage, "archive_end": _shown(self.end)}


def _backup(one: Backup | None) -> dict[str, Any]:
    if one is None:
        return {"backup": None}
    return {"backup": one.name, "backup_finished": one.finished, "backup_timeline": one.timeline,
            "backup_start": wal.show_lsn(one.start_lsn), "backup_stop": _shown(one.stop_lsn), "backup_bytes": one.size,
            "backup_stored_bytes": one.stored, "backup_segment_bytes": one.segment_size}


def _primary(one: Primary | None) -> dict[str, Any]:
    if one is None:
        return {"primary_lsn": None}
    return {"primary_system": one.system, "primary_timeline": one.timeline, "primary_lsn": wal.show_lsn(one.lsn),
            "primary_segment_bytes": one.segment_size, "primary_keeps_from": _shown(one.kept)}


def _shown(lsn: int | None) -> str | None:
    return None if lsn is None else wal.show_lsn(lsn)


def choose(catalog: Catalog | str, primary: Primary | None, limits: Limits) -> Decision:
    """Decide. `catalog` is what the store has, or why that is not known; without a `primary` there is no other way, and
    the backup only has to be recoverable."""
    made = Decision(LEADER, "", limits, primary)
    if isinstance(catalog, str):
        return replace(made, reason=f"the store cannot be read: {catalog}")
    if primary and primary.history:
        catalog = replace(catalog, histories={**catalog.histories, primary.timeline: primary.history})
    timeline = primary.timeline if primary else catalog.last_timeline
    backup = catalog.newest(timeline)
    if backup:
        end = catalog.reach(backup, timeline).end
        made = replace(made, backup=backup, end=end, wal=(primary.lsn if primary else end) - backup.start_lsn,
                       limit=None if backup.size is None else limits.bytes(backup.size))
    against = next(_against(catalog, timeline, made), None)
    if against:
        return replace(made, reason=against)
    if behind := _behind(made) or _stray(catalog, made):
        return replace(made, reason=behind, later=True)
    enough = (f"{made.wal} bytes of WAL follow the backup, under the limit of {made.limit}" if primary else
              "there is nobody to copy from, and the backup can be recovered")
    return replace(made, method=BACKUP, reason=enough)


def _against(catalog: Catalog, timeline: int, made: Decision) -> Iterator[str]:
    """What is against the backup, and against the whole archive."""
    primary, backup = made.primary, made.backup
    if primary and catalog.system not in (None, primary.system):
        yield f"the archive belongs to the cluster with system identifier {catalog.system}, not {primary.system}"
    if primary and catalog.last_timeline > primary.timeline:
        # Recovery follows the newest timeline that the archive knows, and would leave the primary's.
        yield f"the archive goes on to timeline {catalog.last_timeline}, the primary is on {primary.timeline}"
    if backup is None:
        newest = catalog.find("LATEST")
        yield ("there is no complete base backup" if newest is None else
               f"no base backup is usable, the newest ({newest.name}) because {catalog.why_not(newest, timeline)}")
        return
    if hole := catalog.reach(backup, timeline).hole:
        yield f"the archive has a hole after the backup: {hole} is missing"
    if primary:
        yield from _far(made, primary, backup)


def _far(made: Decision, primary: Primary, backup: Backup) -> Iterator[str]:
    """What is against the backup as a start for this primary's replica."""
    if backup.system not in (None, primary.system):
        yield f"the backup is of the cluster with system identifier {backup.system}, not {primary.system}"
    if backup.segment_size != primary.segment_size:
        yield f"the backup has segments of {backup.segment_size} bytes, the primary of {primary.segment_size}"
    ends = max(backup.start_lsn, backup.stop_lsn or 0)
    if ends > primary.lsn:
        yield f"the backup ends at {wal.show_lsn(ends)}, the primary has come to {wal.show_lsn(primary.lsn)} only"
    if made.wal is None or made.limit is None:
        yield "nobody recorded the size of the backup, so the limits cannot be applied"
    elif made.wal >= made.limit:
        which = "megabytes" if made.limit == made.limits.megabytes << 20 else "percentage of the backup's size"
        yield f"{made.wal} bytes of WAL follow the backup, not under the limit of {made.limit} ({which})"


def _behind(made: Decision) -> str | None:
    """Whether WAL would be missing in between: the replica reads the archive to its end and streams from there, so the
    primary must still have what comes next."""
    primary, end = made.primary, made.end
    if primary is None or primary.kept is None or end is None or primary.kept // primary.segment_size <= end // primary.segment_size:
        return None
    return f"the archive ends at {wal.show_lsn(end)}, the primary keeps WAL from {wal.show_lsn(primary.kept)} on only"


def _stray(catalog: Catalog, made: Decision) -> str | None:
    """Whether recovery could follow a timeline further than the primary's history does: a former primary archived segments
    from after its timeline was left, and what the primary wrote in their place is not there yet."""
    primary, end = made.primary, made.end
    if primary is None or end is None:
        return None
    left = {one.timeline: one.end for one in catalog.path(primary.timeline) if one.end is not None}
    size = primary.segment_size
    found = [one for one in catalog.segments
             if one.number >= end // size and one.start(size) + size > left.get(one.timeline, 1 << 64)]
    if not found:
        return None
    return f"the archive has {min(found).name(size)} from after its timeline was left, and not yet what took its place"
