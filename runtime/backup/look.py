"""Looks into the store for the newest usable backup, and tells the cluster: etcd may know nothing of it (a cluster that
was recovered), or too much (somebody deleted it)."""

from __future__ import annotations

import argparse
from typing import Any

from runtime.basebackup import catalog
from runtime.basebackup.catalog import Backup
from runtime.etcd import Unreachable
from runtime.log import Log
from runtime.records import Records
from runtime.spec import load
from runtime.store import Store, StoreError
from runtime.trouble import Exit, Trouble
from runtime.wal import show_lsn

LOG = Log("backup.look")


def brief(backup: Backup) -> dict[str, Any]:
    """What the record keeps of a backup."""
    return {"name": backup.name, "finished": backup.finished or backup.modified, "size": backup.size, "stored": backup.stored,
            "start_lsn": show_lsn(backup.start_lsn), "stop_lsn": None if backup.stop_lsn is None else show_lsn(backup.stop_lsn)}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="runtime.backup look", description="Tell the cluster which backup is the newest.")
    parser.add_argument("--spec", required=True)
    spec = load(parser.parse_args(arguments).spec)
    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "there is no store for backups", "WAL_S3_BUCKET is not given")
    try:
        backup = catalog.read(Store.open(spec.store.folder)).newest()
        records = Records(spec)
        record = records.get("backup")
        last = None if backup is None else brief(backup)
        if record is None or record.get("last") != last:
            records.put("backup", {**(record or {}), "last": last})
    except (StoreError, Unreachable) as error:
        raise Trouble(Exit.RETRY, "it cannot be told which backups there are", str(error)) from None
    if last is None:
        LOG.info("there is no usable backup yet")
    else:
        LOG.info("newest backup", name=last["name"], finished=last["finished"])
    return Exit.OK
