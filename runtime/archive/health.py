"""What is said of the archiver: lines of log that do not repeat themselves, and the status file."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.log import Log

SAY_AGAIN = 60.0  # seconds


class Rarely:
    """Says the same thing once a minute."""

    def __init__(self, seconds: float = SAY_AGAIN) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}

    def __call__(self, what: str) -> bool:
        """Whether it is time to say `what` (again)."""
        now = time.monotonic()
        with self._lock:
            self._said = {one: at for one, at in self._said.items() if now - at < self._seconds}
            return self._said.setdefault(what, now) == now


@dataclass(frozen=True)
class Waiting:
    """Files of a data directory that PostgreSQL wants to have archived; `oldest` in seconds."""

    waiting: int
    waiting_bytes: int
    oldest: float | None


def waiting(data: Path) -> Waiting:
    """What the .ready files say."""
    status = data / "pg_wal" / "archive_status"
    count = size = 0
    oldest: float | None = None
    now = time.time()
    with contextlib.suppress(OSError), os.scandir(status) as entries:
        for entry in entries:
            if entry.name.endswith(".ready"):
                with contextlib.suppress(OSError):
                    oldest = max(oldest or 0.0, now - entry.stat().st_mtime)
                    size += os.stat(status.parent / entry.name.removesuffix(".ready")).st_size
                    count += 1
    return Waiting(count, size, None if oldest is None else round(oldest, 1))


class Works:
    """Whether archiving (or fetching) works: a line when it begins to fail, one a minute while it does, one when it
    works again. `facts` are said each time; `doubt` is told of each error."""

    def __init__(self, what: str, log: Log, facts: Callable[[], Waiting | None], doubt: Callable[[object], None]) -> None:
        self._what, self._log, self._facts, self._doubt = what, log, facts, doubt
        self._lock, self._rarely = threading.Lock(), Rarely()
        self._began = 0.0
        self.since: float | None = None  # of the epoch
        self.error: str | None = None

    def _said(self) -> dict[str, object]:
        facts = self._facts()
        return asdict(facts) if facts else {}

    def bad(self, error: object) -> None:
        self._doubt(error)
        with self._lock:
            if self.since is None:
                self.since, self._began = time.time(), time.monotonic()
            self.error = str(error)
            seconds = round(time.monotonic() - self._began)
        if self._rarely(""):
            self._log.warning(f"{self._what} fails and is tried again", seconds=seconds, error=error, **self._said())

    def refused(self, error: str) -> None:
        """As bad, for what is said elsewhere."""
        with self._lock:
            if self.since is None:
                self.since, self._began = time.time(), time.monotonic()
            self.error = error

    def good(self) -> None:
        if self.since is None:
            return
        with self._lock:
            self.since = self.error = None
            seconds = round(time.monotonic() - self._began, 1)
        self._rarely = Rarely()
        self._log.info(f"{self._what} works again", seconds=seconds, **self._said())


class Status:
    """The file that `spilo status` and others read; written anew as a whole."""

    def __init__(self, path: Path, data: Path, archiving: Works) -> None:
        self._path, self._data, self._archiving = path, data, archiving
        self._next, self._waiting = 0.0, Waiting(0, 0, None)
        self.store = "not tried yet"
        self.archived = self.fetched = 0
        self.last_archived: str | None = None
        self.last_archived_at: float | None = None

    def did_archive(self, name: str) -> None:
        self.last_archived, self.last_archived_at = name, time.time()
        self.archived += 1

    def did_fetch(self) -> None:
        self.fetched += 1

    def waiting(self) -> Waiting:
        """As of a moment ago: looking costs time when there are many files."""
        start = time.monotonic()
        if start >= self._next:
            self._waiting = waiting(self._data)
            self._next = time.monotonic() + max(1.0, 20 * (time.monotonic() - start))
        return self._waiting

    def write(self) -> None:
        """Write the file; whoever reads it sees the old one or the new one."""
        content = {
            "at": time.time(), **asdict(self.waiting()),
            "last_archived": self.last_archived, "last_archived_at": self.last_archived_at,
            "failing_since": self._archiving.since, "error": self._archiving.error,
            "store": self.store, "archived": self.archived, "fetched": self.fetched,
        }
        new = self._path.with_name(f"{self._path.name}.new")
        with contextlib.suppress(OSError):  # a full file system is no reason not to archive
            new.write_text(json.dumps(content), encoding="utf-8")
            os.replace(new, self._path)
