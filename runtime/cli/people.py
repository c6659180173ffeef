"""How `spilo` talks to a person: errors on stderr without timestamps, questions, colours, tables."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence

from runtime.log import Log
from runtime.trouble import Exit, Trouble, run

COLOURS = {"bold": "1", "red": "31", "green": "32", "yellow": "33"}


class Plain(Log):
    """A Log for one reader who is there now: the sentence alone, on stderr, so that stdout holds results only."""

    def _write(self, level: str, sentence: str, fields: dict[str, object]) -> None:
        sys.stderr.write(sentence + "".join(f" {key}={value}" for key, value in fields.items()) + "\n")


def serve(main: Callable[[], int | None]) -> int:
    """Run a command and return its exit code; a reader that went away (`spilo logs | head`) is no failure."""
    def quietly() -> int | None:
        try:
            result = main()
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what Python would still flush at its end
            return Exit.OK

    return run(quietly, Plain("spilo"))


def coloured() -> bool:
    """Whether stdout is for eyes that like colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, on: bool) -> str:
    """`text` in a colour of COLOURS where `on`."""
    return f"\033[{COLOURS[colour]}m{text}\033[0m" if on and text else text


def note(text: str) -> None:
    """A remark beside a result, for a person only: nothing when stdout goes elsewhere."""
    if sys.stdout.isatty():
        print(text, file=sys.stderr)


def confirm(question: str, yes: bool) -> None:
    """Return when the person agrees; raises USAGE where nobody can be asked, REFUSED for a no."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Trouble(Exit.USAGE, "nobody to ask for confirmation here", "the terminal is missing",
                      "add --yes to go ahead, or run it with a terminal (docker exec -it)")
    with contextlib.suppress(EOFError):
        if input(f"{question} [y/N] ").strip().lower() in ("y", "yes"):
            return
    raise Trouble(Exit.REFUSED, "not confirmed, nothing was done")


class Progress:
    """Lines that say how far a command has come, with the seconds since it began."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        print(f"{self.seconds:6.1f} s  {text}", flush=True)


def until(true: Callable[[], bool], seconds: float, pause: float = 0.2) -> bool:
    """Ask `true` again and again; False if it still does not hold after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Lines with columns as wide as their widest cell, those named in `right` flush right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = (cell.rjust(width) if name in right else cell.ljust(width)
                 for name, cell, width in zip(head, row, widths, strict=True))
        return "  ".join(cells).rstrip()

    return [line(row) for row in (head, *rows)]


def size(count: int | None) -> str:
    """Bytes with a unit (powers of 1024), three digits or so; empty for None."""
    if count is None:
        return ""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while abs(value) >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" or value >= 100 else f"{value:.1f} {units[0]}"
