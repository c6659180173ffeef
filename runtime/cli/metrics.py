"""`spilo metrics`: the state of archive, backups and drills in Prometheus' text format, for a textfile or script collector.

Patroni's own metrics are at /metrics of its REST interface.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from runtime.api import Api, Unanswered
from runtime.cli import status
from runtime.cli.stored import Stored
from runtime.spec import Spec
from runtime.trouble import Exit, Trouble


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "metrics", help="archive, backups and drills for Prometheus",
        description="Prints the state of the archive, of base backups and of restore drills in Prometheus' text format.")
    parser.set_defaults(run=run)


def lines(found: Stored) -> Iterator[tuple[str, str, float | None]]:
    """(name with labels, help, value; None: there is none yet)."""
    archive, newest, last = found.archive, found.backup.newest or {}, found.drill.last or {}
    proven = last.get("proven") or {}
    if archive:
        yield "archive_waiting_segments", "Files of WAL that are not in the archive yet.", archive.waiting_segments
        yield "archive_waiting_bytes", "Their size.", archive.waiting_bytes
        yield "archive_oldest_waiting_seconds", "How long the oldest of them waits.", archive.oldest_seconds or 0
        yield "archive_failing", "Whether archiving fails.", int(archive.failing_since is not None)
        yield "archive_last_timestamp_seconds", "When a file was last archived.", archive.last_archived_at
    yield f'backup_state{{state="{found.backup.state}"}}', "State of base backups.", 1
    yield "backup_last_success_timestamp_seconds", "When the newest base backup was finished.", newest.get("finished")
    yield "backup_last_size_bytes", "Size of its files.", newest.get("size")
    yield "backup_last_try_failed", "Whether the last try failed.", int(found.backup.failed is not None)
    yield f'drill_state{{state="{found.drill.state}"}}', "State of restore drills.", 1
    yield "drill_last_ok_timestamp_seconds", "When a drill last went well.", proven.get("finished")
    yield "drill_last_restore_seconds", "How long the last drill's restore took.", last.get("rto_seconds")
    yield "drill_last_unarchived_bytes", "How much was not archived when the last drill began.", last.get("rpo_bytes")


def text(found: Stored) -> str:
    """The exposition format."""
    shown = ""
    for name, words, value in lines(found):
        if value is not None:
            bare = name.partition("{")[0]
            shown += f"# HELP spilo_{bare} {words}\n# TYPE spilo_{bare} gauge\nspilo_{name} {float(value):.15g}\n"
    return shown


def run(spec: Spec, arguments: argparse.Namespace) -> None:
    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "this cluster has no object store", "WAL_S3_BUCKET is not given")
    try:
        primary = Api(spec).role() == "primary"
    except Unanswered:
        primary = False
    found = status.stored(spec, primary)
    if found is None:
        raise Trouble(Exit.RETRY, "nothing is known of the archive yet", "", "see `spilo status`")
    print(text(found), end="")
