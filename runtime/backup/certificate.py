"""What a restore drill found, next to the backup in the store and in etcd."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from runtime.basebackup import layout
from runtime.log import Log
from runtime.records import Records
from runtime.store import Absent, Store


@dataclass(frozen=True)
class Certificate:
    """`result`: ok, failed or skipped, and the `reason` of the last two. `rpo_*`: how much of the primary's log was not
    archived when the drill began. `rto_seconds`: fetching the backup and replaying the log. `at`, `finished` and
    `reached_time` (of the last commit that came back) in seconds since the epoch."""

    backup: str
    member: str
    at: float
    finished: float
    result: str
    reason: str | None = None
    reached_lsn: str | None = None
    reached_time: float | None = None
    timeline: int | None = None
    rpo_bytes: int | None = None
    rpo_seconds: float | None = None
    rto_seconds: float | None = None
    fetch_seconds: float | None = None
    replay_seconds: float | None = None
    check_seconds: float | None = None
    version: str | None = None


def worth(old: dict[str, Any] | None, new: Certificate) -> bool:
    """Whether the new one replaces the old: what was skipped says nothing about a backup that was tried before."""
    return old is None or new.result != "skipped" or old.get("result") == "skipped"


def keep(store: Store | None, records: Records, made: Certificate) -> None:
    """Write it down in etcd, and in the store if that can be used. Raises StoreError, Unreachable."""
    last = records.get("drill") or {}
    proven = {"backup": made.backup, "finished": made.finished} if made.result == "ok" else last.get("proven")
    records.put("drill", {**asdict(made), "proven": proven})
    if store is None:
        return
    old: dict[str, Any] | None = None
    with contextlib.suppress(Absent, ValueError):
        old = json.loads(store.get(layout.drill(made.backup)))
    if worth(old, made):
        store.put(layout.drill(made.backup), json.dumps(asdict(made), indent=1).encode())


def say(log: Log, made: Certificate) -> None:
    """The line that stays in the log."""
    fields = {name: value for name, value in asdict(made).items()
              if value is not None and name not in ("result", "at", "finished", "member")}
    if made.result == "ok":
        log.info("restore drill ok", **fields)
    elif made.result == "skipped":
        log.warning("restore drill skipped", **fields)
    else:
        log.error("restore drill FAILED: the archive may not be restorable", **fields)
