"""The ledger: a client that writes all the time, on every member that takes it, and keeps account outside the database.

One thread a member, pinned to its address: it asks whether the member is in recovery and, when it is not, inserts rows,
one a commit. So the ledger finds a new primary as soon as there is one, and it keeps asking an old one that is cut off
from its cluster. Each write carries the timeline on which the server made it, which gives three statements to check:

    kept    every acknowledged row is in the table, once
    sound   no row is there that was never sent, or that the server refused
    one     no server acknowledged a write that was sent after a later timeline had acknowledged one

The last one is "one writable primary at every moment", as far as a client can tell. Times are monotonic seconds.
"""

from __future__ import annotations

import itertools
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from tests.kit.eventually import eventually

PATIENCE = 3.0  # seconds for any answer of a server
BETWEEN = 0.012  # seconds between two writes: about 60 commits/s
GLANCE = 0.1  # seconds between two looks at a member that takes no writes


class Silence(Exception):
    """The server did not answer in time; what it did with the last statement is unknown."""


class Outcome(Enum):
    """What a client knows of a write."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Write:
    """One row: sent at `began` to `member`, which had answered (or not) at `ended`, on `timeline`."""

    id: int
    member: str
    began: float
    ended: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN
    timeline: int = 0
    detail: str = ""


class Link:
    """A connection whose every step has a deadline, also when the server is frozen while its kernel still answers."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg2.connect(dsn, async_=True)
        self._settle()

    def _settle(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            state = self.connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise Silence(f"no answer in {PATIENCE:g} s")
            reading = state == psycopg2.extensions.POLL_READ
            select.select([self.connection] if reading else [], [] if reading else [self.connection], [], left)

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a statement, a transaction of its own; raises psycopg2.Error or Silence."""
        cursor = self.connection.cursor()
        cursor.execute(statement, parameters or None)
        self._settle()
        return list(cursor.fetchall()) if cursor.description else []

    def close(self) -> None:
        self.connection.close()


class Ledger:
    """`targets` maps a member's name to a connection string for it alone (single host, superuser).

    `with Ledger(...) as ledger:` creates the table and writes until the end. `mark = ledger.mark()` before a fault,
    `ledger.resumed(mark)` to wait for writes after it, `ledger.pause(mark)` for the longest gap since, `verify()` to
    compare with the primary and raise AssertionError with what is wrong.
    """

    def __init__(self, targets: Mapping[str, str], table: str = "ledger") -> None:
        self.targets, self.table = dict(targets), table
        self.writes: list[Write] = []
        self.roles: dict[str, list[tuple[float, str]]] = {name: [] for name in targets}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._attend, args=(name,), daemon=True) for name in targets]

    # The writing

    def _seen(self, member: str, role: str) -> None:
        """Note a change of what a member says it is."""
        history = self.roles[member]
        if not history or history[-1][1] != role:
            history.append((time.monotonic(), role))

    def _attend(self, member: str) -> None:
        link: Link | None = None
        while not self._stopping.is_set():
            wait = GLANCE
            try:
                link = link or Link(self.targets[member])
                if link.query("SELECT pg_is_in_recovery()")[0][0]:
                    self._seen(member, "replica")
                else:
                    self._seen(member, "primary")
                    self._write(link, member)
                    wait = BETWEEN
            except (psycopg2.Error, Silence, OSError) as error:
                self._seen(member, "silent" if isinstance(error, Silence) else "away")
                if link:
                    link.close()
                link = None
            self._stopping.wait(wait)
        if link:
            link.close()

    def _write(self, link: Link, member: str) -> None:
        with self._lock:
            write = Write(next(self._numbers), member, time.monotonic())
            self.writes.append(write)
        try:
            rows = link.query(f"INSERT INTO {self.table} VALUES (%s, %s) "
                              "RETURNING pg_walfile_name(pg_current_wal_insert_lsn())", write.id, member)
            write.timeline = int(rows[0][0][:8], 16)
            write.ended = time.monotonic()
            write.outcome = Outcome.ACKNOWLEDGED
        except (psycopg2.errors.ReadOnlySqlTransaction, psycopg2.errors.UndefinedTable) as error:
            # Said before anything is written. Every other error can come after the commit has reached the disk.
            write.ended, write.detail = time.monotonic(), str(error).strip()
            write.outcome = Outcome.REFUSED
        except (psycopg2.Error, Silence, OSError) as error:
            write.ended, write.detail = time.monotonic(), str(error).strip()
            raise

    def start(self) -> None:
        """Create the table on whichever member is primary, and begin to write."""
        columns = "id bigint, member text, at timestamptz DEFAULT clock_timestamp()"
        statement = f"CREATE TABLE IF NOT EXISTS {self.table} ({columns})"
        eventually("the ledger has its table", lambda: self._on_primary(lambda link: link.query(statement) == []), 60)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2 * PATIENCE + 1)

    def __enter__(self) -> Ledger:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    # The accounting

    def _on_primary(self, action: Callable[[Link], Any]) -> Any:
        """`action(link)` on the one member that is not in recovery; AssertionError when there is none."""
        said = {}
        for name, dsn in self.targets.items():
            try:
                link = Link(dsn)
            except (psycopg2.Error, Silence, OSError) as error:
                said[name] = str(error).strip()
                continue
            try:
                if not link.query("SELECT pg_is_in_recovery()")[0][0]:
                    return action(link)
                said[name] = "replica"
            except (psycopg2.Error, Silence, OSError) as error:
                said[name] = str(error).strip()
            finally:
                link.close()
        raise AssertionError(f"no member takes writes: {said}")

    def mark(self) -> float:
        """Now."""
        return time.monotonic()

    def acknowledged(self, since: float = 0.0, by: str | None = None) -> list[Write]:
        """Acknowledged writes that were sent since a mark (to one member), in the order of their sending."""
        with self._lock:
            writes = list(self.writes)
        return [one for one in writes
                if one.outcome is Outcome.ACKNOWLEDGED and one.began >= since and by in (None, one.member)]

    def resumed(self, since: float, within: float = 60, count: int = 20) -> None:
        """Wait until `count` writes that were sent since the mark are acknowledged."""
        eventually(f"{count} more writes are acknowledged", lambda: len(self.acknowledged(since)) >= count, within,
                   every=0.05)

    def pause(self, since: float) -> float:
        """Longest time without an acknowledgement from the mark until now, in seconds."""
        moments = [since, *sorted(one.ended for one in self.acknowledged() if one.ended >= since), time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))

    def rivals(self) -> list[str]:
        """Each acknowledgement of a server after a later timeline had acknowledged: proof of two primaries."""
        found = []
        owners: dict[int, str] = {}
        firsts: dict[int, float] = {}  # when a timeline first acknowledged
        writes = self.acknowledged()
        for write in writes:
            firsts[write.timeline] = min(firsts.get(write.timeline, write.ended), write.ended)
            owner = owners.setdefault(write.timeline, write.member)
            if owner != write.member:
                found.append(f"timeline {write.timeline} was written by {owner} and by {write.member}")
        for write in writes:
            later = [one for one, first in firsts.items() if one > write.timeline and first < write.began]
            if later:
                newest = max(later)
                found.append(f"{write.member} acknowledged {write.id} on timeline {write.timeline}, sent "
                             f"{write.began - firsts[newest]:.3f} s after {owners[newest]} had on timeline {newest}")
        return found

    def judge(self, known: set[int], rows: Counter[int]) -> list[str]:
        """What is wrong with the table; `known`: ids acknowledged before it was read, `rows`: how often
        each id is there."""
        with self._lock:
            sent = {one.id: one for one in self.writes}
        refused = {one.id for one in sent.values() if one.outcome is Outcome.REFUSED}
        lost = sorted(known - set(rows))
        wrong = {
            "acknowledged commits are lost": lost,
            "rows are there more than once": sorted(one for one, count in rows.items() if count > 1),
            "rows were never written": sorted(set(rows) - set(sent)),
            "refused rows are there": sorted(refused & set(rows)),
        }
        found = [f"{len(ids)} {what}: {ids[:5]}" for what, ids in wrong.items() if ids]
        if lost:
            found.append(f"the first lost one: {sent[lost[0]]}")
        rivals = self.rivals()
        if rivals:
            found.append(f"{len(rivals)} acknowledgements by a second primary, the first: {rivals[0]}")
        return found

    def verify(self) -> None:
        """Compare with the table on the primary; AssertionError with everything that is not as it was promised."""
        known = {one.id for one in self.acknowledged()}
        rows = Counter(row[0] for row in self._on_primary(lambda link: link.query(f"SELECT id FROM {self.table}")))
        wrong = self.judge(known, rows)
        assert not wrong, "; ".join(wrong)

    def count(self) -> dict[str, int]:
        """How many writes ended how."""
        with self._lock:
            return {kind.value: count for kind, count in Counter(one.outcome for one in self.writes).items()}

    def dump(self, path: Path) -> None:
        """Write the account into a file, a line a write."""
        with self._lock, open(path, "w", encoding="utf-8") as file:
            for one in self.writes:
                file.write(f"{one.began:.3f} {one.ended:.3f} {one.id} {one.member} {one.outcome.value} "
                           f"{one.timeline} {one.detail!r}\n")
            for name, history in self.roles.items():
                for moment, role in history:
                    file.write(f"{moment:.3f} {name} is {role}\n")
