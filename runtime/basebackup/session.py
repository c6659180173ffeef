"""The connection that a base backup lives in: PostgreSQL forgets the backup when it ends."""

from __future__ import annotations

import contextlib
import datetime
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extensions

from runtime.trouble import Exit, Trouble
from runtime.wal import parse_lsn


@dataclass(frozen=True)
class Server:
    """What is backed up; `system` is its identifier, `data` its directory."""

    version: str
    system: str
    segment_size: int
    data: str


@dataclass(frozen=True)
class Stopped:
    """The end of a backup: position and the files that belong to it."""

    lsn: int
    label: str
    tablespaces: str


class Session:
    """`with Session(dsn) as session:`; left without `stop`, the backup is given up. All methods raise Trouble (RETRY)."""

    def __init__(self, dsn: str) -> None:
        try:
            self.connection = psycopg2.connect(dsn, application_name="spilo backup", connect_timeout=5)
        except psycopg2.Error as error:
            raise _gone(error) from None
        self.connection.autocommit = True

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(psycopg2.Error):
            self.connection.close()

    def row(self, query: str, *values: object) -> tuple[Any, ...]:
        """The one row that a statement gives."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(query, values or None)
                row: tuple[Any, ...] = cursor.fetchone()
                return row
        except psycopg2.Error as error:
            raise _gone(error) from None

    def server(self) -> Server:
        """What this is; raises Trouble where it cannot be backed up here: a replica, or WAL that nobody archives."""
        standby, mode, *found = self.row(
            "SELECT pg_is_in_recovery(), current_setting('archive_mode'), version(), s.system_identifier::text,"
            " i.bytes_per_wal_segment, current_setting('data_directory') FROM pg_control_system() s, pg_control_init() i")
        if standby:
            raise Trouble(Exit.RETRY, "base backups are taken from the primary, this PostgreSQL is a replica")
        if mode == "off":
            raise Trouble(Exit.SETTINGS, "PostgreSQL does not archive its WAL, without which a backup is worth nothing",
                          "archive_mode is off", "it needs a restart to turn it on: `spilo restart`")
        return Server(*found)

    def start(self) -> tuple[int, int]:
        """Begin, with a checkpoint at once; (timeline, position) where recovery will begin."""
        self.row("SELECT set_config('statement_timeout', '0', false), set_config('idle_session_timeout', '0', false),"
                 " set_config('lock_timeout', '0', false)")
        label = f"spilo {datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')}"
        lsn, = self.row("SELECT pg_backup_start(%s, fast => true)::text", label)
        timeline, = self.row("SELECT timeline_id FROM pg_control_checkpoint()")
        return int(timeline), parse_lsn(lsn)

    def ping(self) -> None:
        """Make sure that the backup still goes on, on a primary."""
        standby, = self.row("SELECT pg_is_in_recovery()")
        if standby:
            raise Trouble(Exit.RETRY, "this PostgreSQL is not the primary any more, the backup is given up")

    def stop(self) -> Stopped:
        """End the backup, which begins a new segment of WAL. Whether the WAL was archived is for the caller to see."""
        lsn, label, spaces = self.row(
            "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(wait_for_archive => false)")
        return Stopped(parse_lsn(lsn), label, spaces or "")

    def archiver(self) -> str:
        """What PostgreSQL says of its archiver."""
        failed, at, since = self.row(
            "SELECT last_failed_wal, last_failed_time::text, last_failed_time > last_archived_time OR last_archived_time IS NULL"
            " FROM pg_stat_archiver")
        return f"archive_command failed for {failed} at {at}" if failed and since else "archive_command has not failed lately"


def _gone(error: psycopg2.Error) -> Trouble:
    return Trouble(Exit.RETRY, "PostgreSQL does not do what a backup needs", " ".join(str(error).split()))
