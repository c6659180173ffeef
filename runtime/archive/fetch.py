"""What PostgreSQL wants from the archive, and what it will want next: files are handed over whole and verified.

Only the store's own "no such key" is ABSENT, and it counts once: the archive may be live. Files that are fetched ahead lie
in the spool, on the same file system as PostgreSQL's, and are handed over by a rename.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from runtime import lzop, postgres, wal
from runtime.archive.health import Rarely, Works
from runtime.archive.upload import key
from runtime.log import Log
from runtime.store import Absent, Store, StoreError, Unanswered
from runtime.trouble import Exit

TARGET = 60.0  # seconds that recovery to a target waits for the store
TICK = 0.5


class Unusable(Exception):
    """What the store has under this name is not the file; the text says why."""


@dataclass(frozen=True)
class Found:
    """A file in the spool; `header` of a segment."""

    path: Path
    header: wal.Header | None


@dataclass
class Job:
    """A file that is being fetched, or was."""

    name: str
    ahead: bool
    future: Future[Found] = field(default_factory=Future)
    began: float = field(default_factory=time.monotonic)


def download(store: Store, name: str, to: Path) -> Found:
    """The file `name` into `to`, verified. Raises Absent and other StoreError, Unusable, OSError."""
    length, head = 0, b""
    try:
        with store.stream(key(name)) as body, open(to, "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
            for block in lzop.blocks(body):
                head = head or block[: 1 << 16]
                length += len(block)
                file.write(block)
        header = None
        if wal.kind(name) in (wal.Kind.SEGMENT, wal.Kind.PARTIAL):
            header = wal.check(name, head, length)
        elif wal.kind(name) is wal.Kind.HISTORY:
            wal.parse_history(head.decode())
    except (lzop.Corrupt, ValueError) as error:
        raise Unusable(f"{key(name)}: {error}") from None
    return Found(to, header)


class Fetch:
    """Answers `fetch`. `patience` in seconds is what a standby waits for the store, `width` how many files are fetched at
    the same time."""

    def __init__(self, store: Callable[[], Store], spool: Path, works: Works, log: Log, *, width: int,
                 patience: float, did_fetch: Callable[[], None]) -> None:
        self._store, self._spool, self._works, self._log = store, spool, works, log
        self._width, self._patience, self._did = width, patience, did_fetch
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._guesses, self._number = 1, 0
        self._asked = ThreadPoolExecutor(4, "asked")  # never waits for what goes ahead
        self._ahead = ThreadPoolExecutor(width, "ahead")
        self._rarely = Rarely()
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in spool.iterdir():
            left.unlink()

    def __call__(self, mode: str, name: str, path: Path, alive: Callable[[], None]) -> tuple[int, str]:
        """(exit code, reason). `alive` is called at least once a second, and raises when nobody waits any more."""
        if wal.kind(name) is None:
            return Exit.REFUSED, f"{name} is no file of WAL"
        target = mode == "target"
        unsure = Exit.UNSURE if target else Exit.RETRY
        start = time.monotonic()
        # A promotion must not wait for a store that is known to be away: what comes is for the next time.
        deadline = start + (TARGET if target else 0.0 if self._works.since else self._patience)
        pause = 0.1
        while True:
            try:
                job = self._job(name)
                found = self._wait(job, deadline, alive)
                if self._hand_over(job, found, path):
                    return Exit.OK, ""
                continue  # another one was handed the file
            except Absent:
                if job.began >= start:
                    return Exit.ABSENT, ""
                continue  # it was looked for before it was asked for
            except Unusable as error:
                if self._rarely(str(error)):
                    self._log.error("an object of the archive is not what it should be", error=error)
                return unsure, str(error)
            except (StoreError, OSError) as error:
                self._works.bad(error)
                reason = str(error)
            if time.monotonic() >= deadline:
                return unsure, reason
            alive()
            time.sleep(pause)
            pause = min(1.0, pause * 2)

    def _wait(self, job: Job, deadline: float, alive: Callable[[], None]) -> Found:
        while not wait([job.future], min(TICK, max(0.0, deadline - time.monotonic()))).done:
            alive()
            if time.monotonic() >= deadline:
                raise Unanswered(f"the archive has not answered about {job.name}")
        return job.future.result()

    def _job(self, name: str, ahead: bool = False) -> Job:
        """The job that fetches the file, a new one where there is none. One that waits behind others goes first when
        it is asked for."""
        with self._lock:
            job = self._jobs.get(name)
            if job and (ahead or not job.ahead or not job.future.cancel()):
                return job
            job = self._jobs[name] = Job(name, ahead)
            self._number += 1
            temporary = self._spool / f"{name}.{self._number}"
            job.future = (self._ahead if ahead else self._asked).submit(self._fetch, job, temporary)
            return job

    def _fetch(self, job: Job, temporary: Path) -> Found:
        try:
            found = download(self._store(), job.name, temporary)
            self._works.good()
            return found
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, Absent):
                self._works.good()
                self._guesses = 1 if job.ahead else self._guesses
            with self._lock:  # whoever waits has the job; whoever asks later has it looked for again
                if self._jobs.get(job.name) is job:
                    del self._jobs[job.name]
            raise

    def _hand_over(self, job: Job, found: Found, path: Path) -> bool:
        """Put the file where PostgreSQL wants it. False when another one who asked for it got it."""
        with self._lock:
            if self._jobs.get(job.name) is not job:
                return False
            del self._jobs[job.name]
        system = postgres.system_identifier(path.parent.parent)
        if found.header and system and found.header.system != system:
            found.path.unlink(missing_ok=True)
            raise Unusable(f"{key(job.name)}: it belongs to the cluster with system identifier {found.header.system}, not {system}")
        try:
            os.replace(found.path, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = path.with_name(f"{path.name}.spilo")
            shutil.copyfile(found.path, beside)
            os.replace(beside, path)
            found.path.unlink()
        self._did()
        self._log.info("fetched", file=job.name, to=path.name, waited=f"{time.monotonic() - job.began:.3f}")
        if found.header and wal.kind(job.name) is wal.Kind.SEGMENT:
            self._guess(wal.Segment.parse(job.name, found.header.segment_size), found.header.segment_size)
        return True

    def _guess(self, segment: wal.Segment, size: int) -> None:
        """Fetch ahead what comes next on this timeline: more and more as long as the guesses are right."""
        self._guesses = min(self._width, 2 * self._guesses)
        names = [segment.next(number + 1).name(size) for number in range(self._guesses)]
        for name in names:
            self._job(name, ahead=True)
        with self._lock:
            done = [job for job in self._jobs.values() if job.future.done() and job.name not in names]
            for job in done[: max(0, len(done) - self._width)]:  # of guesses that were wrong, or other readers
                del self._jobs[job.name]
                with contextlib.suppress(Exception):
                    job.future.result().path.unlink(missing_ok=True)
