"""Where recovery is to end, which backup it begins with, and what PostgreSQL has to be told. Pure.

A target that is out of reach is refused before anything is written, as far as that can be known from a listing: a time and
a position can be compared with what is there; only recovery itself finds a transaction or a restore point.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from dataclasses import dataclass

from runtime.basebackup.model import Backup, Catalog
from runtime.trouble import Exit, Trouble
from runtime.wal import parse_lsn, show_lsn

SKEW = 60.0  # seconds by which the clocks of the store and of PostgreSQL may differ
KINDS = ("time", "lsn", "xid", "name")


@dataclass(frozen=True)
class Target:
    """`kind` one of KINDS, None: the end of the archive; `timeline` a number or "latest"."""

    kind: str | None = None
    value: str = ""
    timeline: str = "latest"
    inclusive: bool = True

    def settings(self) -> dict[str, str]:
        """PostgreSQL's settings for it."""
        found = {"recovery_target_timeline": self.timeline}
        if self.kind:
            found |= {f"recovery_target_{self.kind}": self.value, "recovery_target_inclusive": "on" if self.inclusive else "off"}
        return found

    def __str__(self) -> str:
        return f"{self.kind} {self.value}" if self.kind else "the end of the archive"


@dataclass(frozen=True)
class Choice:
    """Recover `backup` on the way to `timeline`."""

    backup: Backup
    timeline: int


def moment(text: str) -> float:
    """Seconds since the epoch of a time that names its zone; raises USAGE."""
    found = None
    with contextlib.suppress(ValueError):
        found = datetime.datetime.fromisoformat(re.sub(r" (?=[+-]\d\d(:?\d\d)?$)", "", text.strip().replace(" UTC", "Z")))
    if found is None or found.tzinfo is None:
        raise Trouble(Exit.USAGE, "the time to restore is not one that everybody understands alike", text,
                      "write it with its zone: 2026-01-31 13:45:00+00:00")
    return found.timestamp()


def show_time(seconds: float | None) -> str:
    """A moment for people and programs, in UTC."""
    if seconds is None:
        return "?"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(" ", "seconds")


def choose(catalog: Catalog, target: Target, name: str | None = None) -> Choice:
    """The backup to begin with: the newest one that the target does not lie before, or the one called `name`. For a
    transaction or a restore point, whose place nobody knows, it is the oldest. Raises Trouble with the reachable range."""
    timeline = _timeline(catalog, target)
    backup = _named(catalog, name, timeline) if name is not None else _newest(catalog, target, timeline)
    _check_end(catalog, backup, target, timeline)
    return Choice(backup, timeline)


def _timeline(catalog: Catalog, target: Target) -> int:
    if target.timeline == "latest":
        return catalog.last_timeline
    if not target.timeline.isdigit() or not int(target.timeline):
        raise Trouble(Exit.USAGE, "a timeline is a number, or latest", target.timeline)
    timeline = int(target.timeline)
    if timeline > 1 and timeline not in catalog.histories:
        known = ", ".join(map(str, sorted({1, *catalog.histories})))
        raise Trouble(Exit.REFUSED, f"the archive has no timeline {timeline}", f"it has {known}")
    return timeline


def _named(catalog: Catalog, name: str, timeline: int) -> Backup:
    backup = catalog.find(name)
    if backup is None:
        raise Trouble(Exit.USAGE, f"there is no backup {name}", "", "`spilo backup list` shows which there are")
    why = catalog.why_not(backup, timeline)
    if why:
        raise Trouble(Exit.REFUSED, f"the backup {backup.name} cannot be restored", why, "`spilo backup list` shows which can")
    return backup


def _newest(catalog: Catalog, target: Target, timeline: int) -> Backup:
    usable = catalog.usable(timeline)
    if not usable:
        reasons = [f"{one.name}: {catalog.why_not(one, timeline)}" for one in catalog.backups]
        raise Trouble(Exit.REFUSED, "there is no backup to restore", "\n".join(reasons[-5:]) or "the archive has none")
    if target.kind in ("xid", "name"):
        return usable[0]
    time = moment(target.value) if target.kind == "time" else None
    lsn = _lsn(target.value) if target.kind == "lsn" else None
    found = catalog.newest(timeline, time=time, lsn=lsn)
    if found is None:
        raise _out_of_reach(catalog, usable[0], target, timeline)
    return found


def _check_end(catalog: Catalog, backup: Backup, target: Target, timeline: int) -> None:
    """Raise REFUSED where the target lies behind what the archive has, or before the end of the backup."""
    reach = catalog.reach(backup, timeline)
    if target.kind == "time":
        time = moment(target.value)
        out = time > (reach.until or 0) + SKEW or (not backup.guessed and time < (backup.finished or 0))
    elif target.kind == "lsn":
        lsn = _lsn(target.value)
        out = lsn > reach.end or lsn < (backup.stop_lsn or 0)
    else:
        out = target.kind is None and reach.hole is not None
    if out:
        raise _out_of_reach(catalog, backup, target, timeline)


def _out_of_reach(catalog: Catalog, first: Backup, target: Target, timeline: int) -> Trouble:
    return Trouble(Exit.REFUSED, f"{target} cannot be reached", reachable(catalog, first, timeline),
                   "name a target within that range, or none for its end; `spilo backup list` shows what there is")


def reachable(catalog: Catalog, backup: Backup, timeline: int) -> str:
    """What can be reached from `backup`, in words."""
    reach = catalog.reach(backup, timeline)
    hole = f"; {reach.hole} is missing, what follows it cannot be reached" if reach.hole else ""
    stop = backup.stop_lsn if backup.stop_lsn is not None else backup.start_lsn
    return (f"reachable from {backup.name} are {show_lsn(stop)} ({show_time(backup.finished)}) to {show_lsn(reach.end)} "
            f"(archived {show_time(reach.until)}), on timeline {reach.timeline}{hole}")


def _lsn(text: str) -> int:
    try:
        return parse_lsn(text)
    except ValueError as error:
        raise Trouble(Exit.USAGE, str(error)) from None
