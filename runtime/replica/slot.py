"""The replication slot of a new replica: made before anything is copied, so that no WAL can go missing meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg2
import psycopg2.extensions
from psycopg2.extras import PhysicalReplicationConnection

from runtime import wal
from runtime.log import Log
from runtime.spec import FollowSpec, Spec
from runtime.trouble import Exit, Trouble


@dataclass(frozen=True)
class Slot:
    """`kept`: the position from which on the server keeps WAL for it, None where it keeps none; `ours`: made here."""

    name: str
    kept: int | None
    ours: bool


def slot_name(member: str) -> str:
    """The name that Patroni gives to the slot of a member."""
    from patroni.dcs import slot_name_from_member_name

    return str(slot_name_from_member_name(member))


@contextlib.contextmanager
def replication(connstring: str) -> Iterator[psycopg2.extensions.cursor]:
    """Replication commands to the server; raises Trouble (RETRY) where it cannot be reached, or fails one of them."""
    connection = None
    try:
        connection = psycopg2.connect(connstring, connection_factory=PhysicalReplicationConnection, connect_timeout=5)
        with connection.cursor() as cursor:
            yield cursor
    except psycopg2.Error as error:
        raise Trouble(Exit.RETRY, "the primary cannot be asked over replication", str(error).strip()) from None
    finally:
        if connection:
            connection.close()


def read(connstring: str, slot: str) -> Slot | None:
    """The slot as it is, None where there is none; raises Trouble."""
    with replication(connstring) as cursor:
        cursor.execute(f"READ_REPLICATION_SLOT {slot}")
        kind, position, *_ = cursor.fetchone() or (None, None)
        return Slot(slot, wal.parse_lsn(position) if position else None, False) if kind is not None else None


def register(connstring: str, slot: str) -> Slot:
    """Make sure that the server has the slot, with its WAL reserved; raises Trouble. One that keeps nothing (never used,
    or its WAL was lost) is made anew."""
    found = read(connstring, slot)
    if found and found.kept is not None:
        return found
    try:
        with replication(connstring) as cursor:
            if found:
                cursor.execute(f"DROP_REPLICATION_SLOT {slot}")
            cursor.execute(f"CREATE_REPLICATION_SLOT {slot} PHYSICAL (RESERVE_WAL)")
    except Trouble:
        found = read(connstring, slot)
        if found and found.kept is not None:  # Patroni makes it too, as soon as it knows the member
            return found
        raise
    made = read(connstring, slot)
    return Slot(slot, made.kept if made else None, True)


def unregister(connstring: str, slot: str, log: Log) -> None:
    """Drop the slot again, so that a copy that failed does not hold the primary's WAL."""
    try:
        with replication(connstring) as cursor:
            cursor.execute(f"DROP_REPLICATION_SLOT {slot}")
        log.info("replication slot dropped again", slot=slot)
    except Trouble as trouble:
        log.warning("replication slot could not be dropped, Patroni will", slot=slot, error=trouble.detail)


@contextlib.contextmanager
def held(connstring: str, slot: str, log: Log) -> Iterator[Slot]:
    """The slot, registered; one that was made here is dropped again when the block fails. Raises Trouble."""
    found = register(connstring, slot)
    log.info("replication slot registered on the primary", slot=slot, new=str(found.ours).lower())
    try:
        yield found
    except BaseException:
        if found.ours:
            unregister(connstring, slot, log)
        raise


def followed(spec: Spec, connstring: str) -> FollowSpec | None:
    """The cluster that this one follows, where `connstring` leads to it and not to a member of this cluster."""
    follow = spec.follow
    if follow is None or follow.host is None:
        return None
    given = psycopg2.extensions.parse_dsn(connstring) if connstring else {}
    return follow if (given.get("host"), given.get("port")) == (follow.host, str(follow.port)) else None
