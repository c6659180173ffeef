"""The restore drill: the newest backup is restored into scratch space, the archive replayed to its end, and what came
back is checked. Nothing counts as restorable that has not been restored.

The running member is not touched: the copy has a folder and a socket of its own, no network, no slots, and little memory.
It reads the archive through this member's resident archiver, as a recovery in earnest would.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import errno
import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from runtime import archive
from runtime.backup import DRILL_LOCK, canary, checks, copy, scratch
from runtime.backup.canary import Canary
from runtime.backup.certificate import Certificate, keep, say
from runtime.basebackup import catalog, read, replay
from runtime.basebackup.catalog import Backup, Catalog
from runtime.basebackup.meter import lines
from runtime.basebackup.target import Target
from runtime.etcd import Lock, Unreachable
from runtime.log import Log
from runtime.records import Records
from runtime.spec import Spec, StoreSpec, load
from runtime.store import Denied, Store, StoreError, Unanswered
from runtime.trouble import Exit, Trouble
from runtime.wal import Segment, show_lsn

LOG = Log("backup.verify")
ENDS = (signal.SIGTERM, signal.SIGINT)
GUESS = 6  # times what it has in the store a backup is large that does not say
FULL = (errno.ENOSPC, errno.EDQUOT)
NOTHING = 64  # bytes of log behind the last archived segment that are only its successor's header


class Failed(Exception):
    """The archive did not prove itself; the text says how."""


class Skipped(Exception):
    """It could not be tried here; the text says why."""


def room(backup: int, wal: int, total: int) -> int:
    """Bytes that have to be free on a volume of `total` bytes: the expanded `backup`, what replaying `wal` bytes of log may
    add to it, and what the member itself must not be deprived of."""
    return backup + wal + max(256 << 20, total // 20)


def last_segment(archived: Iterable[Segment], timeline: int) -> Segment | None:
    """The last archived segment of the newest timeline that is not newer than `timeline`."""
    return max((one for one in archived if one.timeline <= timeline), default=None)


def unarchived(begin: int, last: Segment | None, size: int) -> int:
    """Bytes of log up to `begin` that were not in the archive when `last` was the last segment there."""
    behind = begin - (last.next().start(size) if last else 0)
    return behind if behind > NOTHING else 0


def choose(found: Catalog, name: str | None) -> Backup:
    """The backup `name`, or the newest complete one, usable or not: what cannot be recovered is what a drill is to find."""
    backup = found.find(name or "LATEST")
    if backup is not None and backup.complete:
        return backup
    if name is None:
        raise Trouble(Exit.RETRY, "there is no complete backup yet", "", "`spilo backup now` makes one")
    raise Trouble(Exit.USAGE, f"there is no complete backup {name}", "", "`spilo backup list` shows what there is")


def shown(names: list[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def moment(commit: str | None) -> float | None:
    """Seconds since the epoch of a time as the server logs it, None where it does not say one."""
    with contextlib.suppress(ValueError, TypeError):
        return datetime.datetime.fromisoformat(commit or "").timestamp()
    return None


class Drill:
    """One drill. `made` is the certificate as far as it is known."""

    def __init__(self, spec: Spec, place: StoreSpec, store: Store, found: Catalog, backup: Backup) -> None:
        self.spec, self.place, self.store, self.found, self.backup = spec, place, store, found, backup
        now = time.time()
        self.made = Certificate(backup.name, spec.member, at=now, finished=now, result="failed")

    def note(self, **known: object) -> None:
        self.made = replace(self.made, **known)  # type: ignore[arg-type]

    def run(self, folder: Path, keep_free: int | None) -> Certificate:
        """Do all of it in the empty `folder`. Raises Trouble (RETRY) where it says nothing about the archive."""
        try:
            self.check_room(folder, keep_free)
            row = self.write_canary()
            self.restore(folder / "data", row)
            self.note(result="ok")
        except Skipped as why:
            self.note(result="skipped", reason=str(why))
        except Failed as why:
            self.note(reason=str(why))
        except Unanswered as error:
            raise Trouble(Exit.RETRY, "the store does not answer", str(error)) from None
        except Trouble as trouble:
            if trouble.code == Exit.RETRY:
                raise
            self.note(reason="; ".join(filter(None, (trouble.message, *trouble.detail.splitlines()))))
        except (StoreError, ValueError) as error:  # absent, refused, or not what its checksum says
            self.note(reason=str(error))
        except OSError as error:
            if error.errno not in FULL:
                raise
            self.note(result="skipped", reason="the volume became full")
        self.note(finished=time.time())
        return self.made

    def check_room(self, folder: Path, keep_free: int | None) -> None:
        size = self.backup.segment_size
        begin = self.backup.start_lsn // size
        wal = size * sum(1 for one in self.found.segments if one.number >= begin)
        expanded = self.backup.size or GUESS * self.backup.stored
        usage = shutil.disk_usage(folder)
        wanted = room(expanded, wal, usage.total) if keep_free is None else expanded + wal + keep_free
        if usage.free < wanted:
            raise Skipped(f"{usage.free >> 20} MiB are free on the volume, the drill needs {wanted >> 20} MiB")

    def write_canary(self) -> Canary:
        """Commit the row, see how much was not archived at that moment, and wait until the row is."""
        row = canary.write(self.spec)
        last = last_segment(self.found.segments, row.timeline)
        behind = unarchived(row.begin, last, row.segment_size)
        seconds = max(0.0, self.made.at - self.found.segments[last]) if last and behind else 0.0
        self.note(rpo_bytes=behind, rpo_seconds=round(seconds, 1), version=row.version)
        if row.tablespaces - set(self.backup.tablespaces):
            # Its place is in the log, and is the live one on this member too: replay would write there.
            raise Skipped("a tablespace was made after the backup; the next backup can be verified")
        LOG.info("canary written on the primary", lsn=show_lsn(row.lsn), segment=row.segment, unarchived=behind)
        if not canary.until_archived(self.store, row.segment):
            raise Failed(f"{row.segment}, written {canary.ARCHIVED:.0f} s ago, is not in the archive")
        now = catalog.read(self.store)
        if holes := now.holes(self.backup, row.lsn, row.timeline):
            raise Failed(f"the archive has a hole, missing: {shown(holes)}")
        if problem := now.why_not(self.backup, row.timeline):
            raise Failed(problem)
        return row

    def fetch(self, data: Path) -> None:
        """Restore the backup, its tablespaces beside it; what went wrong is told apart by what is behind the Trouble."""
        tablespaces = {oid: data.with_name("tablespaces") / str(oid) for oid in self.backup.tablespaces}
        try:
            read.restore(self.store, self.backup, data, tablespaces=tablespaces, parallel=min(self.place.downloads, 4),
                         progress=lines(LOG, "restoring"))
        except Trouble as trouble:
            behind = trouble.__context__
            if isinstance(behind, Denied) or (isinstance(behind, OSError) and behind.errno in FULL):
                raise behind from None
            raise

    def restore(self, data: Path, row: Canary) -> None:
        """Bring it back, and look whether all is there."""
        begun = time.monotonic()
        LOG.info("restoring", backup=self.backup.name, size=self.backup.size)
        self.fetch(data)
        fetched = time.monotonic()
        self.note(fetch_seconds=round(fetched - begun, 1))
        # To a fixed end, because a busy archive has none, and whatever comes later was not looked at.
        wanted = replay.Wanted(Target("lsn", show_lsn(row.lsn)), archive.fetch_command(str(self.place.socket), "target"))
        reached = replay.replay(data, wanted, LOG)
        replayed = time.monotonic()
        self.note(replay_seconds=round(replayed - fetched, 1), rto_seconds=round(replayed - begun, 1), timeline=row.timeline,
                  reached_lsn=show_lsn(reached.lsn), reached_time=moment(reached.commit))
        LOG.info("replayed, checking what came back", lsn=show_lsn(reached.lsn), seconds=self.made.rto_seconds)
        self.check(data, row)
        self.note(check_seconds=round(time.monotonic() - replayed, 1))

    def check(self, data: Path, row: Canary) -> None:
        with copy.running(data, self.place.socket.with_name("drill"), self.spec.roles["superuser"].name) as server:
            with contextlib.closing(server.connect(canary.DATABASE)) as connection:
                there = canary.found(connection, row)
            if not there:
                raise Failed(f"replay ended at {self.made.reached_lsn}, the row committed at {show_lsn(row.lsn)} did not come back")
            wrong = checks.amcheck(str(server.socket), copy.PORT, server.user)
        if wrong:
            raise Failed(f"pg_amcheck: {wrong}")
        summed = replay.controldata(data).get("Data page checksum version", "0") != "0"
        wrong = checks.checksums(data) if summed else None
        if wrong:
            raise Failed(f"pg_checksums: {wrong}")


def tried(spec: Spec, place: StoreSpec, records: Records, name: str | None, keep_free: int | None) -> tuple[Store | None, Certificate]:
    """Choose a backup and try it: (the store if it can be used, what came of it)."""
    begun = time.time()
    try:
        store = Store.open(place.folder)
        found = catalog.read(store)
    except Denied as error:
        known = (records.get("backup") or {}).get("last") or {}
        return None, Certificate(name or str(known.get("name")), spec.member, begun, time.time(), "failed", str(error))
    except StoreError as error:
        raise Trouble(Exit.RETRY, "the store cannot be read", str(error)) from None
    with scratch.space(place.scratch) as folder:
        return store, Drill(spec, place, store, found, choose(found, name)).run(folder, keep_free)


def verify(path: str, name: str | None, keep_free: int | None) -> Certificate:
    """One drill, alone in the cluster, its result recorded."""
    spec = load(path)
    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "there is no store for backups", "WAL_S3_BUCKET is not given")
    records = Records(spec)
    with Lock(records.etcd, records.root + DRILL_LOCK, {"member": spec.member, "since": time.time()}):
        try:
            store, made = tried(spec, spec.store, records, name, keep_free)
            say(LOG, made)
            keep(store, records, made)
        except (StoreError, Unreachable) as error:
            raise Trouble(Exit.RETRY, "the result of the drill could not be recorded", str(error)) from None
    return made


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="runtime.backup verify", description="Restore a backup, to prove that it can be.")
    parser.add_argument("name", nargs="?", help="the backup (default: the newest)")
    parser.add_argument("--spec", required=True)
    parser.add_argument("--keep-free", type=int, metavar="BYTES", help="what has to stay free on the volume")
    options = parser.parse_args(arguments)

    def interrupt(*_: object) -> None:
        for one in ENDS:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt  # so that the copy is stopped and removed, in peace

    for one in ENDS:
        signal.signal(one, interrupt)
    made = verify(options.spec, options.name, options.keep_free)
    return Exit.OK if made.result == "ok" else Exit.UNPROVEN
