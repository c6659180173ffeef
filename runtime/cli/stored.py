"""What `spilo status` says of the archive, of backups and of drills: records become values, values become lines. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.cli.people import size
from runtime.schedule import NEVER, late

SLOW = 300.0  # seconds after which a segment that still waits is worth a colour
Line = tuple[str, str, str | None]


@dataclass(frozen=True)
class Archive:
    """The primary's archiver by its own word: `member` said it at the moment `at`."""

    member: str | None
    at: float
    waiting_segments: int
    waiting_bytes: int
    oldest_seconds: float | None
    last_archived: str | None
    last_archived_at: float | None
    failing_since: float | None
    error: str | None


@dataclass(frozen=True)
class Backup:
    """`state`: ok, too old, never (none succeeded yet), off or unknown; `newest` as in runtime/records.py; `failed`: why the last
    try did, `failed_at` when."""

    state: str
    newest: dict[str, Any] | None = None
    failed: str | None = None
    failed_at: float | None = None


@dataclass(frozen=True)
class Drill:
    """`state`: ok, failed, skipped, late (none for two scheduled times), never (none yet), off or unknown; `last` the
    certificate of the last one."""

    state: str
    last: dict[str, Any] | None = None


@dataclass(frozen=True)
class Stored:
    """Everything about what is in the store."""

    archive: Archive | None
    backup: Backup
    drill: Drill


def archive(said: Mapping[str, Any] | None) -> Archive | None:
    """The archiver's status file, or what was recorded of it."""
    if not said:
        return None
    return Archive(said.get("member"), float(said.get("at") or 0), int(said.get("waiting") or 0),
                   int(said.get("waiting_bytes") or 0), said.get("oldest"), said.get("last_archived"),
                   said.get("last_archived_at"), said.get("failing_since"), said.get("error"))


def backup(record: Mapping[str, Any] | None, schedule: str, now: datetime.datetime) -> Backup:
    """The record of backups; a primary makes one as soon as it has looked into the store."""
    record = record or {}
    newest = record.get("last")
    failed, at = (str(record.get("error")), record.get("tried")) if record.get("ok") is False else (None, None)
    if not newest:
        return Backup("off" if schedule == NEVER else "never", None, failed, at)
    return Backup("too old" if late(schedule, float(newest["finished"]), now) else "ok", dict(newest), failed, at)


def drill(record: Mapping[str, Any] | None, schedule: str, now: datetime.datetime) -> Drill:
    """The record of drills. One that failed stays so, however long ago it was."""
    if not record:
        return Drill("off" if schedule == NEVER else "never")
    result = str(record.get("result"))
    proven = (record.get("proven") or {}).get("finished")
    if result != "failed" and late(schedule, float(proven or record["finished"]), now):
        result = "late"
    return Drill(result, dict(record))


def ago(seconds: float) -> str:
    """A time that has passed, in the largest unit that says enough."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def _archive(found: Archive | None, now: float) -> Line:
    if found is None:
        return "archive", "not known: the archiver has not said anything yet", "yellow"
    waits = "nothing waits"
    if found.waiting_segments:
        oldest = f", the oldest since {ago(found.oldest_seconds).removesuffix(' ago')}" if found.oldest_seconds else ""
        plural = "s" if found.waiting_segments != 1 else ""
        waits = f"{found.waiting_segments} segment{plural} ({size(found.waiting_bytes)}) wait{oldest}"
    if found.failing_since:
        return "archive", f"FAILING since {ago(now - found.failing_since).removesuffix(' ago')}: {waits}: {found.error}", "red"
    last = f"{found.last_archived} {ago(now - (found.last_archived_at or now))}" if found.last_archived else "nothing archived yet"
    return "archive", f"{last}, {waits}", "yellow" if (found.oldest_seconds or 0) > SLOW else None


def _backup(found: Backup, now: float) -> Line:
    failed = f"; last try FAILED {ago(now - found.failed_at)}: {found.failed}" if found.failed and found.failed_at else ""
    if found.state == "unknown":
        return "backup", "not known, etcd is out of reach", "yellow"
    if found.state == "off":
        return "backup", f"off (BACKUP_SCHEDULE is `never`){failed}", "yellow"
    if found.newest is None:
        return "backup", f"NEVER SUCCEEDED{failed}", "red"
    text = f"{ago(now - float(found.newest['finished']))}, {size(found.newest.get('size'))}{failed}"
    if found.state == "too old":
        return "backup", f"TOO OLD: {text}", "red"
    return "backup", text, "yellow" if failed else None


def _drill(found: Drill, now: float) -> Line:
    if found.last is None:
        words = {"off": "off (VERIFY_SCHEDULE is `never`)", "never": "none yet; `spilo backup verify` runs one now"}
        return "drill", words.get(found.state, "not known, etcd is out of reach"), None if found.state == "off" else "yellow"
    last, when = found.last, ago(now - float(found.last["finished"]))
    proven = last.get("proven")
    before = f"; last ok {ago(now - float(proven['finished']))}" if proven else "; never one that was ok"
    if found.state == "failed":
        return "drill", f"FAILED {when} on {last.get('member')} ({last.get('backup')}): {last.get('reason')}{before}", "red"
    if last.get("result") == "skipped":
        colour = "red" if found.state == "late" else "yellow"
        return "drill", f"skipped {when} on {last.get('member')}: {last.get('reason')}{before}", colour
    text = f"ok {when}: RTO {float(last.get('rto_seconds') or 0):.0f} s, RPO {size(int(last.get('rpo_bytes') or 0))}"
    if last.get("rpo_bytes"):
        text += f" ({float(last.get('rpo_seconds') or 0):.0f} s)"
    return "drill", text if found.state == "ok" else f"LATE: {text}", None if found.state == "ok" else "red"


def lines(found: Stored, now: float) -> list[Line]:
    """(what, how it is, colour or None), as on the page."""
    return [_archive(found.archive, now), _backup(found.backup, now), _drill(found.drill, now)]


def warnings(found: Stored | None) -> tuple[str, ...]:
    """What must not be overlooked, as sentences for the top of the page."""
    if found is None:
        return ()
    texts = []
    if found.drill.state == "failed":
        texts.append("the last restore drill FAILED: the archive may not be restorable")
    if found.archive and found.archive.failing_since:
        texts.append("archiving FAILS: what the primary writes now is in no archive")
    if found.backup.state in ("never", "too old"):
        texts.append("there is no base backup" if found.backup.state == "never" else "the newest base backup is too old")
    return tuple(texts)
