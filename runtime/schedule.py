"""What a cron line asks for: whether something is due, and whether it is late. Pure, in the zone of the given moment."""

from __future__ import annotations

import datetime

NEVER = "never"


def before(schedule: str, now: datetime.datetime) -> datetime.datetime | None:
    """The last time at or before `now` that the schedule names; None if it names none."""
    if schedule == NEVER:
        return None
    from cronsim import CronSim

    # Reversed, cronsim gives what lies before a moment; a second later, that includes the moment itself.
    return next(CronSim(schedule, now.replace(microsecond=0) + datetime.timedelta(seconds=1), reverse=True), None)


def due(schedule: str, last: float | None, now: datetime.datetime) -> bool:
    """Whether a scheduled time has passed since `last` (seconds since the epoch, None: never). However many were missed,
    one run makes up for them."""
    time = before(schedule, now)
    return time is not None and (last is None or last < time.timestamp())


def late(schedule: str, last: float, now: datetime.datetime) -> bool:
    """Whether two scheduled times have passed since `last`, so that it is not just being done or tried again."""
    time = before(schedule, now)
    return time is not None and due(schedule, last, time - datetime.timedelta(seconds=1))
