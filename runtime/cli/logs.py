"""`spilo logs`: this member's last log lines, out of the two files that PID 1 keeps beside the container's own log.

They hold the last megabytes (bootstrap/launch.py, Ring), from all programs: ours, Patroni, PostgreSQL, etcd.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from runtime.spec import Spec
from runtime.trouble import Exit, Trouble

POLL = 0.2  # seconds between looks for new lines
# How the first line of an event tells its program; lines that match none continue the event before them.
PROGRAMS = (
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z]+ ([\w.-]+)\["), None),
    (re.compile(r"\d{4}-\d\d-\d\d [\d:.]+ [A-Z]{3,4} \["), "postgres"),
    (re.compile(r"\{\"level\":"), "etcd"),
    (re.compile(r"\[(?:ALERT|WARNING|NOTICE)\] +\("), "haproxy"),
    (re.compile(r"\d{4}-\d\d-\d\d [\d:]+,\d{3} [A-Z]+ "), "supervisord"),
)


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "logs", help="this member's last log lines",
        description="This member's last log lines, all programs' or one's: patroni, postgres, steward, proxy, ...")
    parser.add_argument("-n", "--lines", type=count, default=100, metavar="N", help="how many (default: 100; 0: none)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new lines, until Ctrl-C")
    parser.add_argument("--program", metavar="NAME", help="only this program's lines; archive also means archive.push")
    parser.set_defaults(run=run)


def count(text: str) -> int:
    """A number of lines, for argparse."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def program(line: str, before: str = "") -> str:
    """Which program wrote `line`; `before` the program of the line above, which a line without a mark belongs to."""
    for pattern, name in PROGRAMS:
        found = pattern.match(line)
        if found:
            return name or found.group(1)
    return before


def only(lines: Iterable[str], wanted: str | None) -> Iterator[str]:
    """The lines of the program `wanted` or of a part of it, all for None."""
    current = ""
    for line in lines:
        current = program(line, current)
        if wanted is None or current == wanted or current.startswith(f"{wanted}."):
            yield line


class Ring:
    """A reader of the ring in `folder` that knows how far it has come."""

    def __init__(self, folder: Path) -> None:
        self.current, self.previous = folder / "current", folder / "previous"
        self.rest = b""
        try:
            self.file = open(self.current, "rb")  # noqa: SIM115 (as long as the reader lives)
        except OSError as error:
            raise Trouble(Exit.RETRY, "there is no log of this member yet", str(error), "docker logs NODE") from None

    def past(self) -> Iterator[str]:
        """The lines that are there now, oldest first."""
        try:
            older = self.previous.read_bytes()
            if os.fstat(self.file.fileno()).st_ino == self.previous.stat().st_ino:
                older = b""  # the files changed places after `current` was opened
        except OSError:
            older = b""
        yield from self.split(older + self.file.read())

    def new(self) -> Iterator[str]:
        """The lines that came since, also across a change of files."""
        yield from self.split(self.file.read())
        try:
            moved = self.current.stat().st_ino != os.fstat(self.file.fileno()).st_ino
        except FileNotFoundError:
            return  # between the two steps of the change
        if moved:
            yield from self.split(self.file.read())  # written between the read and the change
            self.file.close()
            self.file = open(self.current, "rb")  # noqa: SIM115 (as above)
            yield from self.split(self.file.read())

    def split(self, data: bytes) -> Iterator[str]:
        """Whole lines; the beginning of one that is still being written is kept for later."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        return (line.decode("utf-8", "replace") for line in lines)


def forever(ring: Ring) -> Iterator[str]:
    """New lines as they come. An endless iterator, so that `only` remembers whose lines it saw."""
    while True:
        yield from ring.new()
        sys.stdout.flush()
        time.sleep(POLL)


def run(spec: Spec, arguments: argparse.Namespace) -> None:
    ring = Ring(spec.log)
    try:
        for line in deque(only(ring.past(), arguments.program), maxlen=arguments.lines):
            print(line)
        if arguments.follow:
            for line in only(forever(ring), arguments.program):
                print(line)
    except KeyboardInterrupt:
        return  # how following is meant to end
