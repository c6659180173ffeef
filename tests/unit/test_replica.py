"""Making a replica: what pg_basebackup says, names, marks, and what people read of the decision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.cli.replica import page
from runtime.replica.from_leader import marker, progress
from runtime.replica.slot import followed, slot_name
from runtime.spec import FollowSpec
from tests.unit.test_cli_commands import spec


@pytest.mark.parametrize(("line", "amount"), [
    ("    0/31339 kB (0%), 0/1 tablespace", (0, 31339 * 1024)),
    ("12345/31339 kB (39%), 0/1 tablespace (...pgroot/data/base/1/1234)", (12345 * 1024, 31339 * 1024)),
    ("31349/31349 kB (100%), 1/1 tablespace", (31349 * 1024, 31349 * 1024)),
    ("pg_basebackup: error: could not connect", None),
    ("waiting for checkpoint", None),
    ("NOTICE:  WAL archiving is not enabled", None),
    ("", None),
    ("kB 1/2", None),
])
def test_progress(line: str, amount: tuple[int, int] | None) -> None:
    """A line of progress gives bytes done and bytes in all; any other line is something that was said."""
    assert progress(line) == amount


@pytest.mark.parametrize(("member", "slot"),
                         [("one", "one"), ("Node-1", "node_1"), ("a.b", "a_u2e_b".replace("_u2e_", "_"))])
def test_slot_name(member: str, slot: str) -> None:
    """The slot has the name that Patroni gives it, which PostgreSQL accepts."""
    assert slot_name(member) == slot


def test_marker() -> None:
    """The mark lies beside the data directory, where removing the directory does not take it along."""
    assert marker(Path("/x/data")) == Path("/x/data.copying")


@pytest.mark.parametrize(("connstring", "there"), [
    ("user=standby host=east port=5433 dbname=postgres sslmode=require", True),
    ("user=standby host=east port=5432", False),
    ("user=standby host=west2 port=5433", False),
    ("", False),
])
def test_followed(connstring: str, there: bool) -> None:
    """A member of a standby cluster tells the cluster that it follows from members of its own."""
    follow = FollowSpec(None, "east", 5433, "west")
    assert (followed(replace(spec(), follow=follow), connstring) == follow) is there
    assert followed(spec(), connstring) is None


def test_the_last_decision_for_people() -> None:
    """The page says what was decided, why, what came of it, and every number with its unit."""
    text = page({"at": 0.0, "member": "two", "store": "s3://b/p", "method": "from_backup", "reason": "so", "outcome": "restored in 1.0 s",
                 "backup": "base_x", "backup_finished": 1.5, "wal_bytes": 1 << 20, "limit_bytes": None, "primary_lsn": "0/3000000"})
    assert text.splitlines() == [
        "two from the base backup in the store, decided 1970-01-01T00:00:00.000Z", "because  so", "then     restored in 1.0 s",
        "store    s3://b/p", "  backup                  base_x", "  backup_finished         1970-01-01T00:00:01.500Z",
        "  wal_bytes               1048576 (1.0 MiB)", "  limit_bytes             not known",
        "  primary_lsn             0/3000000"]
