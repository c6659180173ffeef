"""What retention deletes, case by case: in doubt nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from runtime.backup.retention import DAY, plan
from runtime.basebackup import layout
from runtime.basebackup.model import Backup, Catalog
from runtime.wal import Segment
from tests.unit.test_basebackup import SIZE, backup, catalog, segments

NOW = 100 * DAY


def aged(number: int, days: float, **more: Any) -> Backup:
    """The backup that starts in segment `number`, finished so many days ago."""
    return backup(number, finished=NOW - days * DAY, **{"modified": NOW - days * DAY, **more})


OK = {"result": "ok"}
CASES = [
    ("as many as wanted", [aged(1, 3), aged(2, 2), aged(3, 1)], 2, 0, [1], 2),
    ("fewer than wanted", [aged(1, 3), aged(2, 2)], 5, 0, [], 1),
    ("one is always left", [aged(1, 50)], 0, 0, [], 1),
    ("the days need the one before them", [aged(1, 30), aged(2, 8), aged(3, 6), aged(4, 1)], 1, 7, [1], 2),
    ("the days alone keep many", [aged(1, 3), aged(2, 2), aged(3, 1)], 1, 7, [], 1),
    ("the count alone keeps old ones", [aged(1, 90), aged(2, 80), aged(3, 70)], 2, 7, [1], 2),
    ("the newest that is proven stays", [aged(1, 9, drill=OK), aged(2, 8, drill=OK), aged(3, 7), aged(4, 1)], 1, 0, [1, 3], 2),
    ("a failed drill proves nothing", [aged(1, 9, drill={"result": "failed"}), aged(2, 1)], 1, 0, [1], 2),
    ("a damaged one does not count", [aged(1, 3), aged(2, 2, problem="cut"), aged(3, 1)], 2, 0, [], 1),
    ("a damaged one goes when it is old", [aged(1, 3, problem="cut"), aged(2, 2), aged(3, 1)], 1, 0, [1, 2], 3),
    ("a damaged one that is newer stays", [aged(1, 3), aged(2, 2), aged(3, 1, problem="cut")], 1, 0, [1], 2),
    ("order is by time", [aged(3, 9), aged(2, 8), aged(4, 1)], 2, 0, [3], 2),
    ("one on a dead timeline does not count", [aged(2, 4), aged(7, 3), aged(6, 2, timeline=2)], 2, 0, [], 2),
]


def seen(backups: list[Backup]) -> Catalog:
    """With all WAL, and a second timeline from segment 5 on where a backup is on it."""
    branched = any(one.timeline == 2 for one in backups)
    wal = segments((1, 0, 9), (2, 5, 9)) if branched else segments((1, 0, 9))
    return catalog(*backups, wal=wal, histories={2: f"1\t0/{5 * SIZE + 64:X}\t\n"} if branched else {})


@pytest.mark.parametrize(("backups", "count", "days", "removed", "first"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_plan(backups: list[Backup], count: int, days: int, removed: list[int], first: int) -> None:
    """The backups that neither count nor days want go, and the WAL before the oldest start of what stays."""
    made = plan(seen(backups), count, days, NOW)
    assert made.refused is None
    assert sorted(one.start_lsn // SIZE for one in made.remove) == removed
    assert [Segment.parse(key.removeprefix(layout.WAL)).number for key in made.wal] == list(range(first))
    assert made.horizon == f"{first:016X}"


def test_other_files_of_the_wal() -> None:
    """With the WAL go its .partial and .backup files; histories, and what is not known, stay."""
    others = ("00000002.history.lzo", "000000010000000000000001.00000028.backup.lzo", "000000010000000000000003.00000028.backup.lzo",
              "000000010000000000000000.partial.lzo", "note.txt", "000000010000000000000000.gz")
    made = plan(replace(seen([aged(1, 2), aged(2, 1)]), others=others), 1, 0, NOW)
    assert set(made.wal) - {f"wal_005/{Segment(1, number).name()}.lzo" for number in (0, 1)} == {
        "wal_005/000000010000000000000001.00000028.backup.lzo", "wal_005/000000010000000000000000.partial.lzo"}


@pytest.mark.parametrize(("hours", "orphan"), [(1, False), (23, False), (25, True)])
def test_incomplete(hours: int, orphan: bool) -> None:
    """An incomplete backup to which nothing was added for a day is nobody's; until then it and its WAL stay."""
    started = aged(1, 0, complete=False, modified=NOW - hours * 3600)
    made = plan(seen([started, aged(3, 1)]), 1, 0, NOW)
    assert ([started] if orphan else []) == list(made.orphans)
    assert made.horizon == f"{3 if orphan else 1:016X}"


@pytest.mark.parametrize(("found", "why"), [
    (catalog(wal=segments((1, 0, 9))), "no usable backup"),
    (catalog(aged(1, 9, complete=False), wal=segments((1, 0, 9))), "no usable backup"),
    (catalog(aged(1, 9), wal=segments((1, 2, 9))), "no usable backup"),
    (replace(seen([aged(1, 9), aged(2, 1)]), strange=("spilo_005/backups/x.json",)), "spilo_005/backups/x.json"),
], ids=["nothing", "only an incomplete one", "only one without its WAL", "something unreadable"])
def test_refused(found: Catalog, why: str) -> None:
    """Without a usable backup, or with something that cannot be read, nothing is deleted at all."""
    made = plan(found, 1, 0, NOW)
    assert why in str(made.refused) and made.nothing


def test_leftovers() -> None:
    """Descriptions whose backup is gone go too."""
    made = plan(replace(seen([aged(1, 1)]), leftovers=("spilo_005/backups/gone.json",)), 1, 0, NOW)
    assert made.leftovers == ("spilo_005/backups/gone.json",) and not made.nothing
