"""Takes a base backup: partitions made and uploaded several at a time, the sentinel last.

The WAL that belongs to a backup counts as archived once it is seen in the store, not when PostgreSQL thinks so. A backup
that fails removes what it had written, as far as the store lets it; without the sentinel nobody takes it for a backup.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runtime import wal
from runtime.basebackup import files, info, layout, pack
from runtime.basebackup.meter import Meter, Say
from runtime.basebackup.model import Backup, Part
from runtime.basebackup.session import Server, Session, Stopped
from runtime.log import Log
from runtime.store import Absent, Store, StoreError, Unanswered
from runtime.trouble import Exit, Trouble
from runtime.wal import Segment

LOG = Log("backup")
TOOL = "spilo"
LOOK = 1.0  # seconds between two looks at whether the backup may go on
ARCHIVED = 1800.0  # seconds that the archiver has for the WAL of the backup


@dataclass
class Job:
    """How a backup is taken: `rate` bytes per second (0: no limit), `parallel` partitions at once, `check` raises where it
    is not to go on, `patience` seconds for the archiver."""

    store: Store
    dsn: str
    data: Path
    rate: int = 0
    parallel: int = 4
    progress: Say | None = None
    check: Callable[[], None] = lambda: None
    patience: float = ARCHIVED
    target: int = files.TARGET
    written: list[str] = field(default_factory=list)  # keys of partitions that are in the store


def take(job: Job) -> Backup:
    """Take one backup, and return it as it is in the store. Raises Trouble; then there is no complete backup."""
    began = time.time()
    try:
        with Session(job.dsn) as session:
            server = session.server()
            _check(job, server)
            timeline, start = session.start()
            name = layout.name(Segment.at(timeline, start, server.segment_size), start % server.segment_size, server.segment_size)
            LOG.info("base backup started", backup=name, lsn=wal.show_lsn(start))
            try:
                backup = _copy(job, session, Backup(
                    name, timeline, start, None, None, None, 0, (), False, TOOL, server.version, server.segment_size, server.system))
                return _complete(job, backup, began)
            except BaseException:
                _remove(job, name)
                raise
    except OSError as error:
        raise Trouble(Exit.RETRY, "a file of the data directory cannot be read", str(error)) from None
    except Unanswered as error:
        raise Trouble(Exit.RETRY, "the store does not take the backup", str(error), "it is tried again later") from None
    except StoreError as error:
        raise Trouble(Exit.RETRY, "the store refuses the backup", str(error), "`spilo status` shows the archive") from None


def _check(job: Job, server: Server) -> None:
    """Raise REFUSED where the files are not this server's, or the archive another cluster's."""
    if os.path.realpath(server.data) != os.path.realpath(job.data):
        raise Trouble(Exit.REFUSED, "that is not the data directory of the server", f"{job.data}, the server's is {server.data}")
    try:
        owner = json.loads(job.store.get(layout.SYSTEM)).get("system_identifier")
    except Absent:
        return  # the archiver writes it with its first segment
    except (ValueError, AttributeError):
        raise Trouble(Exit.REFUSED, "nobody can tell whose archive this is", f"{job.store.url}/{layout.SYSTEM} is unreadable") from None
    if owner != server.system:
        raise Trouble(Exit.REFUSED, "the archive belongs to another cluster",
                      f"{job.store.url} has the system identifier {owner}, this cluster has {server.system}",
                      "give each cluster a prefix of its own")


def _copy(job: Job, session: Session, backup: Backup) -> Backup:
    """Everything but description and sentinel."""
    if next(job.store.list(layout.folder(backup.name)), None):
        raise Trouble(Exit.REFUSED, "there is a backup of this name already", backup.name)
    job.store.put(layout.version(backup.name), backup.version.encode())
    listing = files.walk(job.data)
    LOG.info("base backup copies", backup=backup.name, bytes=listing.size, files=len(listing.items),
             tablespaces=len(listing.tablespaces))
    parts = _upload_all(job, session, backup.name, listing)
    control = _control(job.data)
    stopped = session.stop()
    parts.append(_upload_last(job, backup.name, len(parts), control, stopped))
    _until_archived(job, session, backup, stopped.lsn)
    return Backup(
        **{**vars(backup), "stop_lsn": stopped.lsn, "parts": tuple(parts), "tablespaces": listing.tablespaces,
           "size": sum(part.size or 0 for part in parts), "stored": sum(part.stored for part in parts)})


def _upload_all(job: Job, session: Session, name: str, listing: files.Listing) -> list[Part]:
    """All partitions but the last."""
    meter = Meter(listing.size, job.progress)
    source = pack.Source(meter, pack.Rate(job.rate))

    def upload(number: int, items: list[files.Item]) -> Part:
        key = layout.part(name, number)
        packed = pack.Packed(items, source)
        stored = job.store.upload(key, packed.batches(), part=pack.BATCH)
        job.written.append(key)
        return Part(key, stored, packed.size)

    pool = concurrent.futures.ThreadPoolExecutor(max(job.parallel, 1), "backup")
    try:
        waiting = [pool.submit(upload, number, items) for number, items in enumerate(files.deal(listing.items, job.target))]
        _watch(job, session, waiting)
        return [one.result() for one in waiting]
    except BaseException:
        meter.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _watch(job: Job, session: Session, waiting: list[concurrent.futures.Future[Part]]) -> None:
    """Return when all is done; raises what one of them raised, or the reason not to go on."""
    left = set(waiting)
    while left:
        done, left = concurrent.futures.wait(left, LOOK, concurrent.futures.FIRST_EXCEPTION)
        for one in done:
            one.result()
        job.check()
        session.ping()


def _control(data: Path) -> bytes:
    """pg_control, which is written in place: what two readings in a row agree on was not read in the middle of it."""
    path = data / files.CONTROL
    before = path.read_bytes()
    while (now := path.read_bytes()) != before:
        before = now
    return now


def _upload_last(job: Job, name: str, number: int, control: bytes, stopped: Stopped) -> Part:
    """The partition with what is only known at the end."""
    contents = {files.CONTROL: control, "backup_label": stopped.label.encode()}
    if stopped.tablespaces:
        contents["tablespace_map"] = stopped.tablespaces.encode()
    key = layout.part(name, number)
    packed = pack.small(contents, os.stat(job.data / files.CONTROL))
    job.store.put(key, packed)
    job.written.append(key)
    return Part(key, sum(map(len, packed)), sum(map(len, contents.values())))


def _until_archived(job: Job, session: Session, backup: Backup, stop: int) -> None:
    """Wait until the WAL from start to end is in the store."""
    size = backup.segment_size
    needed = [f"{layout.WAL}{Segment(backup.timeline, number).name(size)}{layout.SUFFIX}"
              for number in range(backup.start_lsn // size, max(stop - 1, backup.start_lsn) // size + 1)]
    began = told = time.monotonic()
    while True:
        missing = _missing(job.store, needed)
        if not missing:
            return
        job.check()
        if time.monotonic() - began > job.patience:
            raise Trouble(Exit.RETRY, "the WAL of the backup was not archived in time, so the backup is given up",
                          f"{missing[0]} is missing, {len(missing)} of {len(needed)} segments; {session.archiver()}",
                          "the archiver has to work first: see `spilo status`")
        if time.monotonic() - told >= 5:
            told = time.monotonic()
            LOG.info("base backup waits for the archiver", missing=len(missing), first=missing[0], waited=f"{told - began:.0f}s")
        time.sleep(min(LOOK, 0.05 + (time.monotonic() - began) / 4))


def _missing(store: Store, needed: list[str]) -> list[str]:
    """Those of the ascending keys that are not in the store."""
    there = set()
    for one in store.list(needed[0][: len(layout.WAL) + 8], after=f"{needed[0][:-1]}"):
        if one.key > needed[-1]:
            break
        there.add(one.key)
    return [key for key in needed if key not in there]


def _complete(job: Job, backup: Backup, began: float) -> Backup:
    """Describe it, then make it one: the sentinel is the last object."""
    finished = time.time()
    whole = Backup(**{**vars(backup), "finished": finished, "seconds": finished - began, "complete": True})
    size, stop = backup.segment_size, backup.stop_lsn or 0
    folders = {str(oid): {"loc": f"{place.rstrip('/')}/", "link": f"pg_tblspc/{oid}"} for oid, place in backup.tablespaces.items()}
    sentinel = {
        "wal_segment_backup_stop": Segment.at(backup.timeline, stop, size).name(size),
        "wal_segment_offset_backup_stop": f"{stop % size:08d}"[:8],
        "expanded_size_bytes": backup.size,
        "spec": {"base_prefix": f"{str(job.data).rstrip('/')}/", "tablespaces": list(folders), **folders}}
    job.check()
    job.written.append(layout.info(backup.name))
    job.store.put(layout.info(backup.name), info.dump(whole))
    job.store.put(layout.sentinel(backup.name), json.dumps(sentinel).encode())
    return whole


def _remove(job: Job, name: str) -> None:
    """Take away what was written of a backup that failed, the sentinel first."""
    with contextlib.suppress(StoreError):
        job.store.delete([layout.sentinel(name)])
        job.store.delete([*job.written, layout.version(name)])
        LOG.info("incomplete base backup removed", backup=name)
