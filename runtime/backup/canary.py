"""A row that the primary commits shortly before a drill: what comes back from the archive must have it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import psycopg2
import psycopg2.extensions

from runtime.api import Api, Unanswered
from runtime.basebackup import layout
from runtime.spec import Spec
from runtime.store import Store
from runtime.trouble import Exit, Trouble
from runtime.wal import parse_lsn

DATABASE = "postgres"
ARCHIVED = 180.0  # seconds in which the segment with the row has to be in the store
_TABLE = """
CREATE SCHEMA IF NOT EXISTS spilo;
CREATE TABLE IF NOT EXISTS spilo.canary (id text PRIMARY KEY, member text, written timestamptz DEFAULT clock_timestamp());
DELETE FROM spilo.canary WHERE written < now() - interval '30 days';
"""


@dataclass(frozen=True)
class Canary:
    """`begin`: the primary's position before the row was committed; `lsn`: after, and `segment` (complete) has more than
    that. `tablespaces`: the OIDs of those that somebody has made."""

    id: str
    begin: int
    lsn: int
    segment: str
    segment_size: int
    version: str
    tablespaces: frozenset[int]

    @property
    def timeline(self) -> int:
        return int(self.segment[:8], 16)


def primary(spec: Spec) -> psycopg2.extensions.connection:
    """A superuser connection to the primary, wherever it is. Raises RETRY."""
    try:
        status, answer = Api(spec).call("GET", "/cluster")
    except Unanswered as error:
        raise Trouble(Exit.RETRY, "Patroni of this member does not answer", str(error)) from None
    members = answer.get("members", []) if status == 200 and isinstance(answer, dict) else []
    leader = next((one for one in members if one.get("role") == "leader" and one.get("host")), None)
    if leader is None:
        raise Trouble(Exit.RETRY, "there is no primary now")
    role = spec.roles["superuser"]
    # The commit waits for replicas as every other, so that no failover takes the row away; the timeout ends the wait only.
    options = "-c statement_timeout=30s -c event_triggers=off"
    try:
        connection = psycopg2.connect(
            host=leader["host"], port=leader["port"], user=role.name, password=role.password, dbname=DATABASE,
            sslmode="verify-ca", sslrootcert=str(spec.trusted), connect_timeout=5, options=options,
            application_name="spilo drill")
    except psycopg2.Error as error:
        raise Trouble(Exit.RETRY, "the primary cannot be reached", str(error).strip()) from None
    connection.autocommit = True
    return connection


def write(spec: Spec) -> Canary:
    """Commit the row, and let the primary close the segment that has it. Raises RETRY."""
    name = uuid.uuid4().hex
    connection = primary(spec)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()")
            begin = parse_lsn(cursor.fetchone()[0])
            cursor.execute(_TABLE)
            cursor.execute("INSERT INTO spilo.canary (id, member) VALUES (%s, %s)", (name, spec.member))
            cursor.execute("SELECT pg_current_wal_insert_lsn()")
            lsn = parse_lsn(cursor.fetchone()[0])
            # Recovery to `lsn` ends with the record after it, which has to be in the same or an earlier segment.
            cursor.execute("SELECT pg_logical_emit_message(false, 'spilo', 'canary')")
            cursor.execute("SELECT pg_walfile_name(closed), bytes_per_wal_segment, current_setting('server_version') "
                           "FROM pg_switch_wal() AS closed, pg_control_init()")
            segment, size, version = cursor.fetchone()
            cursor.execute("SELECT oid FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')")
            tablespaces = frozenset(row[0] for row in cursor.fetchall())
    except psycopg2.Error as error:
        raise Trouble(Exit.RETRY, "the primary does not take the canary row", str(error).strip()) from None
    finally:
        connection.close()
    return Canary(name, begin, lsn, segment, size, version, tablespaces)


def until_archived(store: Store, segment: str, seconds: float = ARCHIVED,
                   pause: Callable[[float], None] = time.sleep) -> bool:
    """Wait until the segment is in the store; False if it does not come."""
    deadline = time.monotonic() + seconds
    while not any(True for _ in store.list(f"{layout.WAL}{segment}{layout.SUFFIX}")):
        if time.monotonic() > deadline:
            return False
        pause(0.5)
    return True


def found(connection: psycopg2.extensions.connection, canary: Canary) -> bool:
    """Whether the row is there."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM spilo.canary WHERE id = %s", (canary.id,))
            return bool(cursor.fetchone()[0])
    except psycopg2.errors.UndefinedTable:
        return False
