"""When backups and drills are due: cron lines, roles, what is recorded, and what failed before."""

from __future__ import annotations

import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from runtime.backup.decide import Seen, pause, work
from runtime.backup.scheduler import Scheduler
from runtime.schedule import NEVER, before, due, late
from runtime.trouble import Exit

NOW = datetime.datetime(2026, 5, 20, 12, 30, tzinfo=datetime.UTC)  # a Wednesday
HOUR, DAY = 3600.0, 86400.0
DAILY, WEEKLY = "0 1 * * *", "0 5 * * 0"


def ago(seconds: float) -> float:
    return NOW.timestamp() - seconds


@pytest.mark.parametrize(("schedule", "last", "answer"), [
    (DAILY, ago(2 * HOUR), False),
    (DAILY, ago(11 * HOUR), False),
    (DAILY, ago(12 * HOUR), True),
    (DAILY, ago(40 * DAY), True),
    (DAILY, None, True),
    (NEVER, None, False),
    (NEVER, ago(40 * DAY), False),
    (WEEKLY, ago(3 * DAY), False),
    (WEEKLY, ago(4 * DAY), True),
    ("30 12 * * *", ago(1), True),
    ("31 12 * * *", ago(HOUR), False),
    ("0 0 29 2 *", ago(900 * DAY), True),
])
def test_what_was_missed_is_due_once(schedule: str, last: float | None, answer: bool) -> None:
    """Due is what has a scheduled time between the last run and now, that very minute included."""
    assert due(schedule, last, NOW) is answer
    assert not due(schedule, NOW.timestamp(), NOW)


@pytest.mark.parametrize(("schedule", "last", "answer"), [
    (DAILY, ago(12 * HOUR), False), (DAILY, ago(35 * HOUR), False), (DAILY, ago(36 * HOUR), True),
    (WEEKLY, ago(10 * DAY), False), (WEEKLY, ago(11 * DAY), True), (NEVER, ago(99 * DAY), False),
])
def test_late_is_what_two_scheduled_times_passed_over(schedule: str, last: float, answer: bool) -> None:
    """The first time may just be at work, or be tried again."""
    assert late(schedule, last, NOW) is answer


@pytest.mark.parametrize(("month", "day", "expected"), [
    (3, 29, "2026-03-29T00:00Z"), (3, 30, "2026-03-29T23:00Z"), (10, 25, "2026-10-24T23:00Z"), (10, 26, "2026-10-26T00:00Z"),
])
def test_the_schedule_is_in_the_zone_of_the_moment(month: int, day: int, expected: str) -> None:
    """One o'clock is one o'clock where the container is, around the days on which clocks change too."""
    noon = datetime.datetime(2026, month, day, 12, tzinfo=ZoneInfo("Europe/Vienna"))
    assert before(DAILY, noon) == datetime.datetime.fromisoformat(expected)


# --- what is done next


BACKUP = {"last": {"name": "base_1", "finished": ago(HOUR)}}


def seen(**more: Any) -> Seen:
    values: dict[str, Any] = {"member": "pg1", "role": "primary", "alone": False, "looked": True, "backup": BACKUP, "drill": None,
                              "since": ago(HOUR)}
    return Seen(**{**values, **more})


def drilled(seconds: float, result: str = "ok", member: str = "pg9") -> dict[str, Any]:
    return {"result": result, "member": member, "finished": ago(seconds)}


OLD: dict[str, Any] = {"last": {"name": "base_1", "finished": ago(20 * HOUR)}}
FAILED = {**OLD, "ok": False, "error": "no", "tried": ago(60)}


@pytest.mark.parametrize(("what", "expected"), [
    (seen(looked=False), "look"),
    (seen(looked=False, backup=None), "look"),
    (seen(), None),
    (seen(backup=None), "take"),
    (seen(backup={"last": None, "ok": False, "error": "no"}), "take"),
    (seen(backup=OLD), "take"),
    (seen(backup=FAILED), "take"),
    (seen(role="replica", looked=False, backup=None), None),
    (seen(role="replica", backup=OLD), None),
    (seen(role=None, looked=False), None),
    (seen(role="standby_leader", looked=False), None),
])
def test_backups_are_the_primarys(what: Seen, expected: str | None) -> None:
    """A primary looks into the store first, makes a backup at once where there is none, and again as scheduled."""
    assert work(what, DAILY, WEEKLY, NOW) == expected


@pytest.mark.parametrize("backup", [None, OLD])
def test_never_is_not_at_all(backup: dict[str, Any] | None) -> None:
    """Without a schedule no backup is made, and without a schedule for drills nothing is restored."""
    assert work(seen(backup=backup), NEVER, NEVER, NOW) is None
    assert work(seen(role="replica", drill=drilled(99 * DAY)), DAILY, NEVER, NOW) is None


@pytest.mark.parametrize(("what", "expected"), [
    (seen(role="replica"), None),
    (seen(role="replica", since=ago(5 * DAY)), "verify"),
    (seen(role="replica", since=ago(5 * DAY), backup=None), None),
    (seen(role="replica", drill=drilled(2 * DAY)), None),
    (seen(role="replica", drill=drilled(5 * DAY)), "verify"),
    (seen(role="replica", drill=drilled(2 * DAY, "failed")), None),
    (seen(role="replica", drill=drilled(2 * DAY, "skipped")), "verify"),
    (seen(role="replica", drill=drilled(2 * DAY, "skipped"), own_drill=ago(3 * DAY)), None),
    (seen(role="replica", drill=drilled(2 * DAY, "skipped", "pg1")), None),
    (seen(role="replica", drill=drilled(5 * DAY, "skipped", "pg1")), "verify"),
    (seen(drill=drilled(5 * DAY)), None),
    (seen(drill=drilled(5 * DAY), alone=True), "verify"),
    (seen(drill=drilled(2 * DAY), alone=True), None),
    (seen(drill=drilled(5 * DAY), alone=True, backup=OLD), "take"),
])
def test_drills_are_a_replicas(what: Seen, expected: str | None) -> None:
    """One in the cluster as scheduled; what one replica has no space for another may try; a primary only when alone."""
    assert work(what, DAILY, WEEKLY, NOW) == expected


def test_failures_are_tried_again_ever_more_rarely() -> None:
    """Soon at first, once an hour in the end; the look that comes before everything, sooner."""
    pauses = [pause("take", count) for count in range(1, 12)]
    assert pauses[:3] == [30, 60, 120]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 3600
    assert pause("look", 11) == 120


# --- what follows from how work ended


class Ended:
    """A child that has ended with this code."""

    began = 0.0

    def __init__(self, name: str, ended: int) -> None:
        self.name, self.ended = name, ended

    def code(self) -> int:
        return self.ended

    def stop(self) -> None:
        """It has ended."""


def scheduler() -> Scheduler:
    """One that has asked nobody anything yet."""
    made = Scheduler.__new__(Scheduler)
    made.role, made.looked, made.owes_expiry, made.own_drill = "primary", True, False, None
    made.failures, made.not_before, made.read_at = {}, {}, 0.0
    made.recorded = lambda child, code: None  # type: ignore[method-assign]
    return made


def follow(made: Scheduler, name: str, code: int) -> None:
    made.follow(Ended(name, code))  # type: ignore[arg-type]


def test_only_a_backup_that_succeeded_leads_to_expiry() -> None:
    """And expiry that did not succeed is owed until it does."""
    made = scheduler()
    follow(made, "take", Exit.RETRY)
    assert not made.owes_expiry
    follow(made, "take", Exit.OK)
    assert made.owes_expiry
    follow(made, "expire", Exit.RETRY)
    assert made.owes_expiry
    assert made.failures == {"expire": 1}
    follow(made, "expire", Exit.OK)
    assert (made.owes_expiry, made.failures, made.not_before) == (False, {}, {})


@pytest.mark.parametrize(("code", "again"), [(Exit.OK, False), (Exit.UNPROVEN, False), (Exit.RETRY, True), (Exit.BUG, True), (-9, True)])
def test_a_drill_with_a_result_is_done_whatever_it_is(code: int, again: bool) -> None:
    """One that could not be made, or was killed, is tried again."""
    made = scheduler()
    follow(made, "verify", code)
    assert bool(made.failures) is again
    assert (made.own_drill is None) is again
