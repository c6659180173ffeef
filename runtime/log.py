"""One line an event, on stdout, in UTC: time, level, program, a constant sentence, then key=value.

`2026-01-02T03:04:05.678Z INFO steward[812] certificate renewed path=/run/spilo/node.crt days=30`
"""

from __future__ import annotations

import os
import sys
import time


def timestamp(now: float | None = None) -> str:
    """UTC with milliseconds, as in RFC 3339; `now` in seconds since the epoch."""
    now = time.time() if now is None else now
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"


def quoted(value: object) -> str:
    """A value that stays one word: bare where it is simple, in double quotes (with escapes) where it is not."""
    text = str(value)
    if text and all(c.isprintable() and c not in ' "\'=\\' for c in text):
        return text
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _escaped(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c.isprintable() else c.encode("unicode_escape").decode()


class Log:
    """Writes lines for one program; a whole line is one write, so that lines of several programs do not mix."""

    def __init__(self, program: str) -> None:
        self.program = program

    def info(self, sentence: str, **fields: object) -> None:
        self._write("INFO", sentence, fields)

    def warning(self, sentence: str, **fields: object) -> None:
        self._write("WARNING", sentence, fields)

    def error(self, sentence: str, **fields: object) -> None:
        self._write("ERROR", sentence, fields)

    def _write(self, level: str, sentence: str, fields: dict[str, object]) -> None:
        words = "".join(f" {key}={quoted(value)}" for key, value in fields.items())
        sys.stdout.write(f"{timestamp()} {level} {self.program}[{os.getpid()}] {sentence}{words}\n")
        sys.stdout.flush()
