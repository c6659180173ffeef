"""Takes one base backup of the primary, the only one in the cluster at that time, and records how the try ended."""

from __future__ import annotations

import argparse
import contextlib
import signal
import time
from typing import Any, NoReturn

import psycopg2.extensions

from runtime.api import Api, Unanswered
from runtime.basebackup import write
from runtime.basebackup.meter import lines
from runtime.basebackup.model import Backup
from runtime.etcd import Lock, Unreachable
from runtime.log import Log
from runtime.records import Records
from runtime.spec import Spec, StoreSpec, load
from runtime.store import Store, StoreError
from runtime.trouble import Exit, Trouble
from runtime.wal import show_lsn

LOG = Log("backup")
LOCK = "backup-lock"  # of taking and expiring: neither goes on beside the other, anywhere in the cluster


def lock(records: Records, spec: Spec, what: str) -> Lock:
    """The lock that everything takes that changes which backups there are."""
    return Lock(records.etcd, records.root + LOCK, {"member": spec.member, "since": int(time.time()), "work": what})


def store_of(spec: Spec) -> StoreSpec:
    """Where the archive is; raises SETTINGS where there is none."""
    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "there is no store for backups", "WAL_S3_BUCKET is not given")
    return spec.store


def open_store(place: StoreSpec) -> Store:
    """The store, with more patience than the archiver has: a backup is not thrown away for a moment's silence."""
    try:
        return Store.open(place.folder, timeout=60, attempts=6)
    except StoreError as error:
        raise Trouble(Exit.SETTINGS, "the store cannot be used as it is configured", str(error)) from None


def check_leader(spec: Spec) -> None:
    """Raise RETRY unless this member holds the leader lock, by Patroni's word."""
    try:
        status, _ = Api(spec).call("GET", "/primary")
    except Unanswered as error:
        raise Trouble(Exit.RETRY, "Patroni of this member does not answer", str(error)) from None
    if status != 200:
        raise Trouble(Exit.RETRY, "this member is not the primary, base backups are taken there", f"GET /primary: {status}",
                      "`spilo status` shows who is")


def last(backup: Backup) -> dict[str, Any]:
    """What the record keeps of a backup (runtime/records.py)."""
    return {"name": backup.name, "finished": backup.finished, "size": backup.size, "stored": backup.stored,
            "start_lsn": show_lsn(backup.start_lsn), "stop_lsn": show_lsn(backup.stop_lsn or 0)}


def record(records: Records, spec: Spec, began: float, backup: Backup | None, error: str | None) -> None:
    """Write down how the try ended. What was the last success stays over failures."""
    with contextlib.suppress(Unreachable):
        before = (records.get("backup") or {}).get("last")
        records.put("backup", {"tried": began, "member": spec.member, "ok": backup is not None, "error": error,
                               "seconds": round(time.time() - began, 1), "last": last(backup) if backup else before})


def take(spec: Spec, records: Records) -> Backup:
    """One backup, recorded; raises Trouble."""
    place = store_of(spec)
    with lock(records, spec, "take") as held:
        began = time.time()
        try:
            dsn = psycopg2.extensions.make_dsn(
                host=spec.sockets, port=spec.port, user=spec.roles["superuser"].name, dbname="postgres")
            backup = write.take(write.Job(
                open_store(place), dsn, spec.data, rate=place.rate, parallel=min(place.uploads, 8),
                progress=lines(LOG, "base backup copies"), check=held.check))
        except BaseException as error:
            text = f"{error.message}: {error.detail}" if isinstance(error, Trouble) else f"{type(error).__name__}: {error}"
            record(records, spec, began, None, text)
            raise
        record(records, spec, began, backup, None)
    return backup


def stopped(*_: object) -> NoReturn:
    """SIGTERM ends it as a failure would: the lock is freed, what was written is removed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Trouble(Exit.RETRY, "the backup was stopped")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="runtime.backup take", description="Take a base backup of this primary.")
    parser.add_argument("--spec", required=True)
    spec = load(parser.parse_args(arguments).spec)
    store_of(spec)
    signal.signal(signal.SIGTERM, stopped)
    check_leader(spec)
    backup = take(spec, Records(spec))
    seconds = max(backup.seconds or 0, 0.001)
    LOG.info("base backup complete", backup=backup.name, bytes=backup.size, stored=backup.stored, took=f"{seconds:.1f}s",
             rate=f"{(backup.size or 0) / 1e6 / seconds:.0f}MB/s", start=show_lsn(backup.start_lsn),
             stop=show_lsn(backup.stop_lsn or 0))
    return Exit.OK
