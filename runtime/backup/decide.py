"""What the scheduler does next: a pure function of this member's role, of what is recorded, and of the time."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from runtime.schedule import NEVER, due


@dataclass(frozen=True)
class Seen:
    """`looked`: whether this member has looked into the store since it became primary. `since`: when its scheduler
    started. `own_drill`: when this member last tried one, None: not since it started."""

    member: str
    role: str | None
    alone: bool
    looked: bool
    backup: dict[str, Any] | None
    drill: dict[str, Any] | None
    since: float
    own_drill: float | None = None


def newest(backup: dict[str, Any] | None) -> dict[str, Any] | None:
    """The newest complete backup in the record, if there is one."""
    found = (backup or {}).get("last")
    return found if isinstance(found, dict) else None


def _drilled(seen: Seen) -> float:
    """When the last drill was that counts for this member: what one member skips, another may have the space for."""
    drill = seen.drill or {}
    counts = bool(drill) and (drill.get("result") != "skipped" or drill.get("member") == seen.member)
    return max(seen.since if not drill else 0.0, float(drill.get("finished", 0)) if counts else 0.0, seen.own_drill or 0.0)


def work(seen: Seen, schedule: str, verify: str, now: datetime.datetime) -> str | None:
    """`look` into the store, `take` a backup, `verify` one, or None. Backups are the primary's work; drills a replica's, or
    of a primary that stands alone, which nobody else could do it for. Cloned and restored clusters are no exception: what
    counts is whether their own archive has a backup."""
    if seen.role == "primary":
        if not seen.looked:
            return "look"
        last = newest(seen.backup)
        if schedule != NEVER and (last is None or due(schedule, float(last["finished"]), now)):
            return "take"
    drills = seen.role == "replica" or (seen.role == "primary" and seen.alone)
    if drills and newest(seen.backup) and due(verify, _drilled(seen), now):
        return "verify"
    return None


def pause(name: str, failures: int) -> float:
    """Seconds until work that failed so many times in a row is tried again: half a minute, twice as long each time, an
    hour at most; a look, which costs little, after two minutes at most."""
    return float(min(30 * 2 ** max(failures - 1, 0), 120 if name == "look" else 3600))
