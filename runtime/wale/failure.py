"""What goes wrong, in the form in which WAL-E reports errors, with the exit code that tells one kind from another.

WAL-E's own exit code for all of it is 1, which as a restore_command means "the archive has no such file".
"""

from __future__ import annotations

import gevent
from wal_e.exception import UserException

from runtime.store import Absent, Denied, StoreError, Unanswered
from runtime.trouble import Exit


class Failure(UserException):  # type: ignore[misc]  # WAL-E has no types
    """An expected failure; `again` where it can get better by itself within this call."""

    def __init__(self, code: Exit, msg: str, detail: str | None = None, hint: str | None = None, again: bool = False) -> None:
        super().__init__(msg=msg, detail=detail, hint=hint)
        self.code, self.again = code, again


def of_store(error: StoreError) -> Failure:
    """The Failure for what the store said."""
    if isinstance(error, Absent):
        return Failure(Exit.ABSENT, "the store has no such object", str(error))
    if isinstance(error, Unanswered):
        return Failure(Exit.RETRY, "the store does not answer", str(error), again=True)
    hint = "Credentials, permissions, bucket, region and clock are what this can be about." if isinstance(error, Denied) else None
    return Failure(Exit.RETRY, "the store refuses", str(error), hint)


def exit_code(command: str, end: SystemExit) -> int:
    """The exit code for how WAL-E's `command` ended. WAL-E leaves from where it reported the cause."""
    cause, code = end.__context__, end.code
    if isinstance(cause, Exception) and command == "wal-fetch":
        return Exit.UNSURE  # PostgreSQL takes anything up to 125 for "no such file", and ends recovery
    if isinstance(cause, Failure):
        return cause.code
    return code if isinstance(code, int) else int(code is not None)


def install() -> None:
    """WAL-E reports failures itself; gevent would print a traceback of each that ends a greenlet."""
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, UserException)
