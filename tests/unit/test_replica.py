"""Making a replica: what pg_basebackup says, names, and marks."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.replica.from_leader import marker, progress, slot_name


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
