"""Expected failures and the exit codes that tell them apart.

Every tool raises `Trouble` for what can go wrong in a way that somebody can act upon; `run` turns it into one line of
log and an exit code. Anything else that is raised is a bug and says so.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from runtime.log import Log


class Exit(IntEnum):
    """Exit codes of every program of ours; `meaning` is what docs/exit-codes.md prints."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Exit:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "Done."
    ABSENT = 1, "`restore_command`: the archive itself said that it has no such file."
    USAGE = 2, "A command line that the program does not understand."
    SETTINGS = 3, "The configuration is wrong. Nothing was touched; changing the settings helps, restarting does not."
    RETRY = 4, "Something is out of reach for now. The caller may try again."
    REFUSED = 5, "It would not be safe: data that is not ours, a directory that surprises, an owner that is wrong."
    BUG = 6, "An unexpected exception; the log has its traceback. Please report it."
    PROGRAM = 7, "A supervised program failed for good; the last line of the log names it and its reason."
    UNPROVEN = 8, "A restore drill failed, or was skipped: the backup is not proven."
    UNSURE = 254, "`restore_command` in recovery to a target: stop here and do not promote."


class Trouble(Exception):
    """An expected failure: `message` what is wrong, `detail` what was seen, `hint` what to do about it."""

    def __init__(self, code: Exit, message: str, detail: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.detail, self.hint = code, message, detail, hint

    def lines(self) -> list[str]:
        """The trouble as a person reads it, one idea a line."""
        parts = [self.message]
        parts += [f"  seen: {line}" for line in self.detail.splitlines()]
        parts += [f"  fix:  {line}" for line in self.hint.splitlines()]
        return parts


def run(main: Callable[[], int | None], log: Log, last_words: Path | None = None) -> int:
    """Run a tool's `main` and return its exit code, logging a Trouble as lines and a bug as a traceback.

    `last_words` is a file in which a Trouble is left behind for the sentinel, so that a container which ends because
    of it can say why.
    """
    try:
        return int(main() or Exit.OK)
    except Trouble as trouble:
        for line in trouble.lines():
            log.error(line)
        if last_words is not None:
            words = {"code": int(trouble.code), "lines": trouble.lines()}
            last_words.parent.mkdir(parents=True, exist_ok=True)
            last_words.write_text(json.dumps(words), encoding="utf-8")
        return int(trouble.code)
    except KeyboardInterrupt:
        return 130
    except Exception:
        log.error("unexpected exception, please report it", code=int(Exit.BUG))
        traceback.print_exc()
        return int(Exit.BUG)
