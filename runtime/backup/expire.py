"""Deletes what retention does not want any more, or says what it would delete, which is the default.

Backups go before their WAL, and of each backup the sentinel before the rest: an interruption leaves nothing that looks
better than it is. Nothing at all is deleted unless everything could be listed and understood.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

from runtime.backup.retention import ORPHAN, Plan, plan
from runtime.backup.take import lock, open_store, store_of
from runtime.basebackup import catalog, layout
from runtime.log import Log
from runtime.postgres import system_identifier
from runtime.records import Records
from runtime.spec import StoreSpec, load
from runtime.store import Store, StoreError
from runtime.store.errors import explained
from runtime.trouble import Exit, Trouble

LOG = Log("backup.expire")


def planned(store: Store, place: StoreSpec, system: str | None, now: float) -> Plan:
    """What is to be done; raises Trouble where that cannot be told, or the archive is not that of the cluster `system`."""
    try:
        found = catalog.read(store)
    except StoreError as error:
        raise Trouble(Exit.RETRY, "nothing is deleted: the store did not say what there is", str(error)) from None
    if None not in (found.system, system) and found.system != system:
        raise Trouble(Exit.REFUSED, "nothing is deleted: the archive belongs to another cluster",
                      f"its system identifier is {found.system}, this cluster's is {system}")
    made = plan(found, place.keep_count, place.keep_days, now)
    if made.refused:
        raise Trouble(Exit.REFUSED, "nothing is deleted", made.refused, "see `spilo backup list`")
    return made


def carry_out(store: Store, made: Plan, check: Any = lambda: None) -> int:
    """Delete; the number of objects. `check` raises where it is not to go on. Raises StoreError."""
    count = 0
    for backup in (*made.remove, *made.orphans):
        check()
        store.delete([layout.sentinel(backup.name)])
        keys = [one.key for one in store.list(layout.folder(backup.name))]
        store.delete([*keys, layout.info(backup.name), layout.drill(backup.name)])
        LOG.info("base backup deleted", backup=backup.name, objects=len(keys), complete=str(backup.complete).lower())
        count += len(keys) + 1
    store.delete(made.leftovers)
    for start in range(0, len(made.wal), 1000):
        check()
        store.delete(made.wal[start : start + 1000])
    return count + len(made.leftovers) + len(made.wal)


def unfinished(store: Store, before: float) -> list[tuple[str, str]]:
    """(key, id) of uploads that began before that moment and neither ended nor were given up: nobody sees them, and they
    are paid for."""
    with explained("list unfinished uploads"):
        pages = store.client.get_paginator("list_multipart_uploads").paginate(Bucket=store.bucket, Prefix=f"{store.prefix}/")
        return [(one["Key"], one["UploadId"]) for page in pages for one in page.get("Uploads", [])
                if one["Initiated"].timestamp() < before]


def give_up(store: Store, uploads: list[tuple[str, str]]) -> None:
    """End uploads that nobody will finish."""
    for key, number in uploads:
        with explained(f"give up the upload of {key}"):
            store.client.abort_multipart_upload(Bucket=store.bucket, Key=key, UploadId=number)


def _uploads(store: Store, now: float, really: bool) -> int:
    """How many unfinished uploads there are, which are given up where `really`; stores that cannot tell have none."""
    found: list[tuple[str, str]] = []
    with contextlib.suppress(StoreError):
        found = unfinished(store, now - ORPHAN)
        if really:
            give_up(store, found)
    return len(found)


def show(made: Plan) -> None:
    """The plan for a person."""
    for one, why in made.keep:
        print(f"keep    {one.name}  {why}")
    for one in made.remove:
        print(f"delete  {one.name}  not wanted any more")
    for one in made.orphans:
        print(f"delete  {one.name}  it was never completed")
    if made.wal:
        print(f"delete  {len(made.wal)} WAL files, from {_file(made.wal[0])} to {_file(made.wal[-1])}; those from *{made.horizon} on stay")
    if made.leftovers:
        print(f"delete  {len(made.leftovers)} descriptions of backups that are gone")
    if made.nothing:
        print("nothing is to be deleted")


def _file(key: str) -> str:
    return key.removeprefix(layout.WAL)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="runtime.backup expire", description="Say what retention would delete.")
    parser.add_argument("--spec", required=True)
    parser.add_argument("--yes", action="store_true", help="delete it")
    options = parser.parse_args(arguments)
    spec = load(options.spec)
    place = store_of(spec)
    store, system, now = open_store(place), system_identifier(spec.data), time.time()
    if not options.yes:
        made = planned(store, place, system, now)
        show(made)
        if count := _uploads(store, now, False):
            print(f"give up {count} uploads that nobody finished")
        if not made.nothing or count:
            print("nothing was done; add --yes to do it")
        return Exit.OK
    with lock(Records(spec), spec, "expire") as held:
        made = planned(store, place, system, now)
        try:
            count = carry_out(store, made, held.check)
        except StoreError as error:
            raise Trouble(Exit.RETRY, "not everything could be deleted", str(error), "it goes on the next time") from None
        uploads = _uploads(store, now, True)
    LOG.info("retention carried out", kept=len(made.keep), deleted=len(made.remove), orphans=len(made.orphans), wal=len(made.wal),
             objects=count, uploads=uploads, horizon=made.horizon)
    return Exit.OK
