"""A new replica out of a base backup in the store, where that is the better way; Patroni's first `create_replica_methods`.

The replication slot comes first, then the decision (choose.py), then the backup, and a look at what was restored. WAL comes
through restore_command until the archive ends, and from there by streaming. Any code but 0 makes Patroni remove the data
directory, which was empty before, and take its next method.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import postgres, wal
from runtime.basebackup import catalog, meter
from runtime.basebackup.read import restore
from runtime.log import Log, timestamp
from runtime.replica.choose import BACKUP, Decision, Limits, Primary, choose
from runtime.replica.from_leader import marker
from runtime.replica.slot import Slot, followed, held, read, replication, slot_name
from runtime.spec import Spec, load
from runtime.store import Store, StoreError
from runtime.tool import tool
from runtime.trouble import Exit, Trouble, run

LOG = Log("replica.from_backup")
PATIENCE = 30.0  # seconds for which a lagging archive may catch up before the primary is copied instead
AGAIN = 3.0
UNITS = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


class Otherwise(Exception):
    """It was decided that the replica does not come from the store."""


def command(spec: str, source: bool = False) -> str:
    """Command line, to which Patroni adds its own arguments; `source`: the store of the cluster that is followed."""
    return shlex.join(tool("runtime.replica.from_backup", f"--spec={spec}", *(["--source"] if source else [])))


@dataclass(frozen=True)
class Server:
    """What is to be streamed from; `histories`: the content of its .history files, by timeline."""

    primary: Primary
    histories: dict[int, str]


def ask(connstring: str, slot: Slot | None) -> Server:
    """What the server says of itself; raises Trouble."""
    with replication(connstring) as cursor:
        def row(query: str) -> tuple[Any, ...]:
            cursor.execute(query)
            return tuple(cursor.fetchone() or ())

        system, timeline, position, *_ = row("IDENTIFY_SYSTEM")
        size = re.fullmatch(r"(\d+)(\w+)", row("SHOW wal_segment_size")[0])
        assert size is not None
        histories: dict[int, str] = {}
        if timeline > 1:
            histories[timeline] = _text(row(f"TIMELINE_HISTORY {timeline}")[1])
            older = [ancestor for ancestor, _ in wal.parse_history(histories[timeline]) if ancestor > 1]
            histories |= {one: _text(row(f"TIMELINE_HISTORY {one}")[1]) for one in older}
    return Server(Primary(system, timeline, wal.parse_lsn(position), histories.get(timeline),
                          int(size[1]) * UNITS[size[2]], slot.kept if slot else None), histories)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode()


@contextlib.contextmanager
def _slot(spec: Spec, connstring: str) -> Iterator[Slot | None]:
    """The slot through which the replica will stream, None where it is to have none."""
    if other := followed(spec, connstring):
        yield read(connstring, other.slot) if other.slot else None
    elif connstring:
        with held(connstring, slot_name(spec.member), LOG) as slot:
            yield slot
    else:
        yield None


def decide(store: Store, connstring: str, slot: Slot | None, limits: Limits) -> tuple[Decision, Server | None]:
    """The decision, made again for a while where the archive only lags; raises Trouble."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found: catalog.Catalog | str
        try:
            found = catalog.read(store)
        except StoreError as error:
            found = str(error)
        # Asked last, so that the primary is not behind a backup that has just been finished.
        server = ask(connstring, slot) if connstring else None
        decision = choose(found, server.primary if server else None, limits)
        if not decision.later or time.monotonic() > deadline:
            return decision, server
        LOG.info("waiting for the archive to catch up", reason=decision.reason)
        time.sleep(AGAIN)


def tell(decision: Decision, store: Store) -> None:
    """The one line of log with everything that is known."""
    fields = {key: value for key, value in decision.fields().items() if value is not None}
    if "backup_finished" in fields:
        fields["backup_finished"] = timestamp(fields["backup_finished"])
    LOG.info("where the replica comes from is decided", store=store.url, **fields)


def record(spec: Spec, decision: Decision, store: Store, outcome: str) -> None:
    """Keep the decision, and what came of it."""
    path = spec.replica_why
    value = {"at": time.time(), "member": spec.member, "store": store.url, **decision.fields(), "outcome": outcome}
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)


def inspect(data: Path, backup: catalog.Backup, server: Server | None) -> None:
    """Make sure that what was restored is this cluster's, from where the backup says; raises REFUSED."""
    ours = postgres.system_identifier(data)
    theirs = server.primary.system if server else backup.system
    if theirs is not None and ours != theirs:
        raise Trouble(Exit.REFUSED, "the backup is of another cluster", f"system identifier {ours} in it, {theirs} is wanted")
    label = (data / "backup_label").read_text(encoding="utf-8", errors="replace")
    said = dict(re.findall(r"^(START TIMELINE|START WAL LOCATION): (\S+)", label, re.MULTILINE))
    wanted = {"START TIMELINE": str(backup.timeline), "START WAL LOCATION": wal.show_lsn(backup.start_lsn)}
    if {**wanted, **said} != wanted:
        raise Trouble(Exit.REFUSED, "the backup is not what the store says of it", f"its backup_label has {said}, not {wanted}")


def create(store: Store, decision: Decision, server: Server | None, data: Path, downloads: int) -> None:
    """Restore what was decided for; raises Trouble."""
    backup = decision.backup
    assert backup is not None
    mark = marker(data)
    mark.touch(0o600)
    restore(store, backup, data, parallel=downloads, progress=meter.lines(LOG, "restoring"))
    inspect(data, backup, server)
    # Recovery learns from them when to leave a timeline, also where the archive does not have them yet.
    for timeline, text in (server.histories if server else {}).items():
        (data / "pg_wal" / f"{timeline:08X}.history").write_text(text, encoding="utf-8")
    mark.unlink()


def _store(spec: Spec, source: bool) -> tuple[Store, int, Limits]:
    """(the store, how many downloads at a time, the limits)."""
    given = spec.follow if source else spec.store
    place = spec.follow.source if source and spec.follow else spec.store
    if given is None or place is None:
        raise Trouble(Exit.USAGE, "there is no store to make a replica from")
    try:
        return Store.open(place.folder), given.downloads, Limits(given.threshold_megabytes, given.threshold_percentage)
    except StoreError as error:
        raise Trouble(Exit.RETRY, "the store cannot be used", str(error)) from None


def main() -> int:
    parser = argparse.ArgumentParser(description="Create a replica from a base backup (called by Patroni).")
    parser.add_argument("--spec", required=True)
    parser.add_argument("--datadir", required=True, type=Path)
    parser.add_argument("--connstring", default="")
    parser.add_argument("--source", action="store_true")
    options, _ = parser.parse_known_args()
    if not postgres.is_empty(options.datadir):
        raise Trouble(Exit.REFUSED, "a replica is made in an empty directory only", f"{options.datadir} is not")
    spec = load(options.spec)
    store, downloads, limits = _store(spec, options.source)
    try:
        with _slot(spec, options.connstring) as slot:
            decision, server = decide(store, options.connstring, slot, limits)
            tell(decision, store)
            record(spec, decision, store, "")
            if decision.method != BACKUP:
                raise Otherwise
            start = time.monotonic()
            try:
                create(store, decision, server, options.datadir, downloads)
            except Trouble as trouble:
                instead = ", so the primary is copied instead" if server else ""
                record(spec, decision, store, f"it failed{instead}: {trouble.message}: {trouble.detail}")
                raise
            took = time.monotonic() - start
            record(spec, decision, store, f"restored in {took:.1f} s")
            LOG.info("restored", backup=decision.fields()["backup"], took=f"{took:.1f}s")
    except Otherwise:
        return Exit.RETRY
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run(main, LOG))
