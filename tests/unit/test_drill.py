"""The restore drill's arithmetic, its scratch space and certificate, and what `spilo status` makes of the records."""

from __future__ import annotations

import datetime
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runtime.backup import scratch
from runtime.backup.certificate import Certificate, worth
from runtime.backup.drill import last_segment, room, unarchived
from runtime.cli import page, stored
from runtime.log import Log
from runtime.trouble import Exit, Trouble
from runtime.wal import DEFAULT_SIZE, Segment

MIB, GIB = 1 << 20, 1 << 30
NOW = 1_800_000_000.0
MOMENT = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
DAILY, WEEKLY = "0 1 * * *", "0 5 * * 0"


def test_the_drill_leaves_the_member_its_space() -> None:
    """What has to be free: the backup, what replay may add, and a twentieth of the volume, or 256 MiB of a small one."""
    assert room(10 * GIB, 2 * GIB, 100 * GIB) == 17 * GIB
    assert room(50 * MIB, 32 * MIB, GIB) == 338 * MIB


@pytest.mark.parametrize(("archived", "timeline", "expected"), [
    ([], 1, None),
    ([Segment(1, 3), Segment(1, 2)], 1, Segment(1, 3)),
    ([Segment(1, 9), Segment(2, 4)], 2, Segment(2, 4)),
    ([Segment(1, 3), Segment(2, 4)], 1, Segment(1, 3)),
    ([Segment(1, 3)], 2, Segment(1, 3)),
])
def test_the_last_segment_is_the_timelines_own(archived: list[Segment], timeline: int, expected: Segment | None) -> None:
    """What another branch of history went on to write says nothing about how much of this one is archived."""
    assert last_segment(archived, timeline) == expected


@pytest.mark.parametrize(("begin", "last", "expected"), [
    (0x4000028, Segment(1, 3), 0), (0x4000000, Segment(1, 3), 0), (0x4001000, Segment(1, 3), 0x1000),
    (0x5000000, Segment(1, 3), DEFAULT_SIZE), (0x5000000, Segment(1, 6), 0), (0x5000000, None, 0x5000000),
])
def test_rpo_is_the_log_behind_the_last_archived_segment(begin: int, last: Segment | None, expected: int) -> None:
    """The header of a segment that was begun is no loss."""
    assert unarchived(begin, last, DEFAULT_SIZE) == expected


# --- scratch space


def test_scratch_space_is_for_one_and_does_not_stay(tmp_path: Path) -> None:
    """A second drill is sent away, a failed one leaves nothing behind, and what a killed one left is removed."""
    folder = tmp_path / "scratch"
    with pytest.raises(ZeroDivisionError), scratch.space(folder):
        (folder / "data").mkdir()
        with pytest.raises(Trouble) as raised, scratch.space(folder):
            pass
        assert raised.value.code == Exit.RETRY
        scratch.clear(folder, Log("test"))
        assert (folder / "data").exists(), "somebody else's is left alone"
        raise ZeroDivisionError
    assert not folder.exists()
    (folder / "data").mkdir(parents=True)
    scratch.clear(folder, Log("test"))
    assert not folder.exists()


def test_a_server_that_was_left_in_the_scratch_space_is_ended(tmp_path: Path) -> None:
    """What still works in there is killed before the files go."""
    data = tmp_path / "scratch" / "data"
    data.mkdir(parents=True)
    with subprocess.Popen(["sleep", "1000"], cwd=data) as left, ThreadPoolExecutor(1) as pool:
        ended = pool.submit(left.wait, 10)  # a zombie still has its folder
        scratch.clear(data.parent, Log("test"))
        assert ended.result() == -signal.SIGKILL
    assert not data.parent.exists()


# --- certificates


def certificate(result: str = "ok", **more: Any) -> Certificate:
    return Certificate("base_1", "pg2", NOW - 60, NOW - 30, result, **more)


@pytest.mark.parametrize(("old", "new", "answer"), [
    (None, "skipped", True), (None, "ok", True), ({"result": "ok"}, "skipped", False), ({"result": "failed"}, "skipped", False),
    ({"result": "skipped"}, "skipped", True), ({"result": "ok"}, "failed", True), ({"result": "failed"}, "ok", True),
])
def test_a_certificate_is_not_lost_to_a_drill_that_was_skipped(old: dict[str, Any] | None, new: str, answer: bool) -> None:
    """What was found out last counts; a drill that was skipped found out nothing."""
    assert worth(old, certificate(new)) is answer


# --- spilo status


NEWEST = {"name": "base_1", "finished": NOW - 7200, "size": 3 * GIB}
OK = {"backup": "base_1", "member": "pg2", "finished": NOW - 90000, "result": "ok", "rto_seconds": 32.4, "rpo_bytes": 3 * MIB,
      "rpo_seconds": 41.0, "proven": {"backup": "base_1", "finished": NOW - 90000}}
ARCHIVER = {"member": "pg1", "at": NOW, "waiting": 0, "waiting_bytes": 0, "oldest": None, "last_archived": "A3",
            "last_archived_at": NOW - 12, "failing_since": None, "error": None}


def lines(archiver: dict[str, Any] | None = ARCHIVER, backup: dict[str, Any] | None = None,
          drill: dict[str, Any] | None = None) -> dict[str, tuple[str, str | None]]:
    found = stored.Stored(stored.archive(archiver), stored.backup(backup, DAILY, MOMENT), stored.drill(drill, WEEKLY, MOMENT))
    return {what: (text, colour) for what, text, colour in stored.lines(found, NOW)}


@pytest.mark.parametrize(("more", "text", "colour"), [
    ({}, "A3 12 s ago, nothing waits", None),
    ({"waiting": 1, "waiting_bytes": 16 * MIB, "oldest": 2.0}, "A3 12 s ago, 1 segment (16.0 MiB) wait, the oldest since 2 s", None),
    ({"waiting": 40, "waiting_bytes": 640 * MIB, "oldest": 900.0},
     "A3 12 s ago, 40 segments (640 MiB) wait, the oldest since 15 min", "yellow"),
    ({"waiting": 40, "waiting_bytes": 640 * MIB, "oldest": 900.0, "failing_since": NOW - 600, "error": "403"},
     "FAILING since 10 min: 40 segments (640 MiB) wait, the oldest since 15 min: 403", "red"),
    ({"last_archived": None}, "nothing archived yet, nothing waits", None),
])
def test_the_backlog_is_said(more: dict[str, Any], text: str, colour: str | None) -> None:
    """How much waits, since when, and why."""
    assert lines({**ARCHIVER, **more})["archive"] == (text, colour)


@pytest.mark.parametrize(("record", "text", "colour"), [
    (None, "NEVER SUCCEEDED", "red"),
    ({"last": None, "ok": False, "error": "503", "tried": NOW - 60}, "NEVER SUCCEEDED; last try FAILED 60 s ago: 503", "red"),
    ({"last": NEWEST, "ok": True}, "2 h ago, 3.0 GiB", None),
    ({"last": NEWEST, "ok": False, "error": "503", "tried": NOW - 60}, "2 h ago, 3.0 GiB; last try FAILED 60 s ago: 503", "yellow"),
    ({"last": {**NEWEST, "finished": NOW - 3 * 86400}}, "TOO OLD: 3 d ago, 3.0 GiB", "red"),
])
def test_a_backup_that_is_missing_is_no_silence(record: dict[str, Any] | None, text: str, colour: str | None) -> None:
    """Never succeeded, too old, and a failure of the last try are said."""
    assert lines(backup=record)["backup"] == (text, colour)


@pytest.mark.parametrize(("record", "text", "colour"), [
    (None, "none yet; `spilo backup verify` runs one now", "yellow"),
    (OK, "ok 25 h ago: RTO 32 s, RPO 3.0 MiB (41 s)", None),
    ({**OK, "result": "failed", "reason": "a hole", "proven": None},
     "FAILED 25 h ago on pg2 (base_1): a hole; never one that was ok", "red"),
    ({**OK, "result": "skipped", "reason": "no space"}, "skipped 25 h ago on pg2: no space; last ok 25 h ago", "yellow"),
    ({**OK, "finished": NOW - 30 * 86400, "proven": {"finished": NOW - 30 * 86400}},
     "LATE: ok 30 d ago: RTO 32 s, RPO 3.0 MiB (41 s)", "red"),
    ({**OK, "result": "skipped", "reason": "no space", "proven": {"finished": NOW - 30 * 86400}},
     "skipped 25 h ago on pg2: no space; last ok 30 d ago", "red"),
])
def test_a_drill_is_said_with_its_result(record: dict[str, Any] | None, text: str, colour: str | None) -> None:
    """A drill that failed stays so until another is ok; one that is overdue is said too."""
    assert lines(drill=record)["drill"] == (text, colour)


def test_what_must_not_be_overlooked_is_on_top() -> None:
    """Warnings follow from the records, and a cluster without a store has none."""
    bad = stored.Stored(stored.archive({**ARCHIVER, "failing_since": NOW}), stored.backup(None, DAILY, MOMENT),
                        stored.drill({**OK, "result": "failed"}, WEEKLY, MOMENT))
    assert [one.split(" ")[0] for one in stored.warnings(bad)] == ["the", "archiving", "there"]
    good = stored.Stored(stored.archive(ARCHIVER), stored.backup({"last": NEWEST}, DAILY, MOMENT), stored.drill(OK, WEEKLY, MOMENT))
    assert stored.warnings(good) == stored.warnings(None) == ()
    assert page.stored is stored


def test_what_is_switched_off_is_no_failure() -> None:
    """A cluster whose backups others make is not warned of every day; that it has none here is said."""
    found = stored.Stored(None, stored.backup(None, "never", MOMENT), stored.drill(None, "never", MOMENT))
    assert [(text, colour) for _, text, colour in stored.lines(found, NOW)][1:] == [
        ("off (BACKUP_SCHEDULE is `never`)", "yellow"), ("off (VERIFY_SCHEDULE is `never`)", None)]
    assert stored.warnings(found) == ()
