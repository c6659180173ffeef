"""`spilo backup restore`: a backup into an empty directory, ready to be recovered to a target. The running member is not
touched, and what comes up from there has neither network nor archive until a person says so."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from runtime import archive
from runtime.basebackup import target
from runtime.basebackup.meter import Amount
from runtime.basebackup.model import Backup
from runtime.basebackup.target import KINDS, Target
from runtime.cli.people import Progress, size
from runtime.spec import Spec, StoreSpec
from runtime.trouble import Exit, Trouble

LINKS = 107  # bytes in the name of a unix socket


def add(works: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = works.add_parser(
        "restore", help="restore into a directory of your own",
        description="Restores a backup into an empty directory and prepares recovery to a target (default: the end of the "
                    "archive), where it then waits. The member that runs here is not touched.")
    parser.add_argument("--to", metavar="DIR", type=Path, required=True, help="where to: empty, or not there yet")
    parser.add_argument("--backup", metavar="NAME", help="begin with this backup (default: the newest before the target)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--target-time", metavar="TIME", help="a moment, with its zone: 2026-01-31 13:45:00+00:00")
    which.add_argument("--target-lsn", metavar="LSN", help="a position in the WAL")
    which.add_argument("--target-xid", metavar="XID", help="a transaction")
    which.add_argument("--target-name", metavar="NAME", help="a restore point made with pg_create_restore_point()")
    parser.add_argument("--target-timeline", metavar="NUMBER", default="latest", help="the timeline to follow (default: latest)")
    parser.add_argument("--target-exclusive", action="store_true", help="end just before the target instead of after it")
    parser.add_argument("--tablespace", metavar="OID=DIR", action="append", default=[],
                        help="where a tablespace goes (default: below DIR-tablespaces); may be given several times")
    parser.set_defaults(run=run)


def wanted(arguments: argparse.Namespace) -> Target:
    """The target that the options name."""
    for kind in KINDS:
        value = getattr(arguments, f"target_{kind}")
        if value is not None:
            return Target(kind, value, arguments.target_timeline, not arguments.target_exclusive)
    return Target(timeline=arguments.target_timeline)


def places(backup: Backup, to: Path, given: list[str]) -> dict[int, Path]:
    """Where each tablespace goes: never where the running cluster has it."""
    found = {oid: to.with_name(f"{to.name}-tablespaces") / str(oid) for oid in backup.tablespaces}
    for one in given:
        oid, _, place = one.partition("=")
        if not oid.isdigit() or int(oid) not in found or not place:
            raise Trouble(Exit.USAGE, "not a tablespace of this backup", one,
                          f"OID=DIR, where OID is one of {', '.join(map(str, found)) or 'none: it has no tablespaces'}")
        found[int(oid)] = Path(place).absolute()
    return found


def check_away(spec: Spec, to: Path) -> None:
    """Raise REFUSED for a place that belongs to the running member."""
    data, place = Path(os.path.realpath(spec.data)), Path(os.path.realpath(to))
    if place == data or data in place.parents or place in data.parents:
        raise Trouble(Exit.REFUSED, "that is where the running member has its data", str(to), "name another directory")


def settings(chosen: Target, place: StoreSpec, to: Path) -> dict[str, str]:
    """What postgresql.auto.conf is to say. Neither network nor archive: two servers of one cluster must not meet there."""
    return {
        **chosen.settings(), "restore_command": archive.fetch_command(str(place.socket), "target"),
        "recovery_target_action": "pause", "archive_mode": "off", "listen_addresses": "", "logging_collector": "off",
        "unix_socket_directories": str(to), "primary_conninfo": "", "primary_slot_name": "", "synchronous_standby_names": ""}


def prepare(to: Path, values: dict[str, str]) -> None:
    """Write the settings behind those that the backup has, and ask for recovery."""
    with (to / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        file.write("\n# spilo backup restore\n")
        for name, value in values.items():
            quoted = value.replace("\\", "\\\\").replace("'", "''")
            file.write(f"{name} = '{quoted}'\n")
    (to / "recovery.signal").touch(0o600)


def run(spec: Spec, arguments: argparse.Namespace) -> None:
    from runtime.basebackup import catalog, read
    from runtime.store import Store, StoreError

    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "this cluster has no object store", "WAL_S3_BUCKET is not given")
    to = arguments.to.absolute()
    check_away(spec, to)
    if len(os.fsencode(to)) > LINKS - len("/.s.PGSQL.65535"):
        raise Trouble(Exit.USAGE, "the directory's name is too long for PostgreSQL's socket in it", str(to))
    chosen, progress = wanted(arguments), Progress()

    def say(amount: Amount) -> None:
        progress.say(f"{amount.percent} %, {size(amount.done)} of {size(amount.total)}, {amount.rate / 1e6:.0f} MB/s, "
                     f"{amount.left:.0f} s left")

    try:
        store = Store.open(spec.store.folder)
        found = catalog.read(store)
    except StoreError as error:
        raise Trouble(Exit.RETRY, "the store does not say what there is", str(error)) from None
    backup = target.choose(found, chosen, arguments.backup).backup
    progress.say(f"restoring {backup.name}, finished {target.show_time(backup.finished)}, to reach {chosen}")
    read.restore(store, backup, to, tablespaces=places(backup, to, arguments.tablespace), parallel=spec.store.downloads, progress=say)
    prepare(to, settings(chosen, spec.store, to))
    progress.say(f"restored into {to}")
    print(f"start it:   pg_ctl -D {to} -w start\nlook at it: psql -h {to} -p {spec.port} -U {spec.roles['superuser'].name} postgres\n"
          "it stops at the target and can be read; `SELECT pg_wal_replay_resume()` ends recovery and makes it writable")
