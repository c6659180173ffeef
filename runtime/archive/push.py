"""What PostgreSQL wants archived, and what it will want next: answers come when the store has the file.

PostgreSQL asks for one file at a time, and after three failures in a row for none during a minute. So files that are
ready are sent ahead, several at a time, and a request is held rather than failed while the store is away.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from runtime import wal
from runtime.archive.guard import Guard, in_production, runs
from runtime.archive.health import Rarely, Status, Works
from runtime.archive.upload import Identity
from runtime.log import Log
from runtime.store import StoreError
from runtime.trouble import Exit, Trouble

HOLD = 300.0  # seconds that a request waits for the store
UNCLEAR = 30.0  # for Patroni to say who is the leader
STOPPED = 10.0  # for the store, while PostgreSQL stops or is down: then somebody waits who has better to do
BRIEFLY = 0.3  # the same, when it is known that the store is away
TICK = 0.1  # a new postmaster must not meet the archiver process of a dead one, which waits for us
KNOWN = 256  # files that were sent ahead and not asked for yet

Send = Callable[[Path, bool], int]


@dataclass
class Job:
    """A file that is being sent, or was."""

    identity: Identity
    ahead: bool
    future: Future[int]


class Push:
    """Answers `push`."""

    def __init__(self, send: Send, guard: Guard, log: Log, *, works: Works, status: Status, width: int) -> None:
        self._send, self._guard, self._works, self._status, self._log, self._width = send, guard, works, status, log, width
        self._lock = threading.RLock()  # a job that ends at once calls back from within
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: deque[str] = deque()
        self._last, self._looked = "", 0.0
        self._asked = ThreadPoolExecutor(4, "asked")  # never waits for what goes ahead
        self._ahead = ThreadPoolExecutor(width, "ahead")
        self._rarely = Rarely()

    def __call__(self, path: Path, alive: Callable[[], None]) -> tuple[int, str]:
        """(exit code, reason). `alive` is called at least once a second, and raises when nobody waits any more."""
        if wal.kind(path.name) is None or not path.is_absolute():
            return self._refuse(Trouble(Exit.REFUSED, f"{path} is no file of WAL"))
        data, start = path.parent.parent, time.monotonic()
        running = in_production(data)
        pause = 0.1
        while True:
            try:
                if self._guard.may(data):
                    self._wait(path, alive, lambda: self._given_up(data, running, start, HOLD))
                    return Exit.OK, ""
                if self._given_up(data, running, start, UNCLEAR):
                    raise Trouble(Exit.RETRY, f"{path.name} is not archived yet: this member is not the leader")
            except (StoreError, OSError) as error:
                if isinstance(error, FileNotFoundError):
                    return Exit.RETRY, f"{path.name} is not there any more"
                self._works.bad(error)
                if self._given_up(data, running, start, HOLD):
                    return Exit.RETRY, str(error)
            except Trouble as trouble:
                return self._refuse(trouble) if trouble.code == Exit.REFUSED else (trouble.code, trouble.message)
            alive()
            time.sleep(pause)
            pause = min(1.0, pause * 2)

    def _refuse(self, trouble: Trouble) -> tuple[int, str]:
        text = "; ".join(part for part in (trouble.message, trouble.detail) if part)
        self._works.refused(text)
        if self._rarely(text):
            for line in trouble.lines():
                self._log.error(line)
        return trouble.code, text

    def _given_up(self, data: Path, running: bool, start: float, hold: float) -> bool:
        """Whether PostgreSQL has to go on without: it stops while the store is away, or its postmaster is gone, whose
        successor cannot start before the archiver process ends, which waits for us."""
        if not running:
            return time.monotonic() - start > (STOPPED if self._works.since is None else BRIEFLY)
        if not in_production(data) and (self._works.since is not None or not runs(data)):
            return True
        return time.monotonic() - start > hold

    def _wait(self, path: Path, alive: Callable[[], None], given_up: Callable[[], bool]) -> None:
        """Until the store has the file."""
        began = said = time.monotonic()
        job = self._job(path)
        self._more(path.parent)
        while not wait([job.future], TICK).done:
            if time.monotonic() - said > 0.5:
                alive()
                said = time.monotonic()
            if given_up():
                raise Trouble(Exit.RETRY, f"{path.name} is not archived yet")
        sent = job.future.result()
        self._forget(path.name, job)
        self._works.good()
        self._status.did_archive(path.name)
        self._log.info("archived", file=path.name, bytes=sent, waited=f"{time.monotonic() - began:.3f}")

    def _forget(self, name: str, job: Job) -> None:
        with self._lock:
            if self._jobs.get(name) is job:
                del self._jobs[name]

    def _job(self, path: Path) -> Job:
        """The job that sends this very file: the one that goes ahead, unless it has not begun."""
        identity = Identity.of(path)
        with self._lock:
            if wal.kind(path.name) is wal.Kind.SEGMENT:
                self._last = path.name
                for name in [name for name, job in self._jobs.items() if name < path.name and job.future.done()]:
                    del self._jobs[name]  # nobody will ask for it
            job = self._jobs.get(path.name)
            if job and job.identity == identity and not (job.ahead and job.future.cancel()) and not _failed(job):
                return job
            return self._start(path, identity, ahead=False)

    def _start(self, path: Path, identity: Identity, ahead: bool) -> Job:
        pool = self._ahead if ahead else self._asked
        job = self._jobs[path.name] = Job(identity, ahead, pool.submit(self._send, path, ahead))
        job.future.add_done_callback(lambda future: self._ended(path, job))
        return job

    def _ended(self, path: Path, job: Job) -> None:
        if job.future.cancelled():
            return
        if _failed(job):
            self._forget(path.name, job)  # who asks for it tries anew
        else:
            self._more(path.parent)

    def _more(self, folder: Path) -> None:
        """Send ahead what is ready and comes next, as much as there is room for."""
        if not self._guard.may(folder.parent):
            return
        with self._lock:
            while sum(not job.future.done() for job in self._jobs.values()) < self._width and len(self._jobs) < KNOWN:
                name = self._next(folder)
                if name is None:
                    return
                try:
                    self._start(folder / name, Identity.of(folder / name), ahead=True)
                except FileNotFoundError:
                    continue

    def _next(self, folder: Path) -> str | None:
        """The name of the next segment that is ready and not known. The folder is not read for each: it can be long."""
        status = folder / "archive_status"
        if not self._queue and time.monotonic() - self._looked > 0.1:
            self._looked = time.monotonic()
            ready = (name.removesuffix(".ready") for name in os.listdir(status) if name.endswith(".ready"))
            self._queue.extend(sorted(name for name in ready if wal.kind(name) is wal.Kind.SEGMENT))
        while self._queue:
            name = self._queue.popleft()
            if name > self._last and name not in self._jobs and (status / f"{name}.ready").exists():
                return name
        return None


def _failed(job: Job) -> bool:
    return job.future.done() and (job.future.cancelled() or job.future.exception() is not None)
