"""How far a copy is, for whoever waits: bytes, percent, rate and the time that is left, from several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from runtime.log import Log


@dataclass(frozen=True)
class Amount:
    """`done` of `total` bytes (0: not known) after `seconds`."""

    done: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes per second so far."""
        return self.done / max(self.seconds, 0.001)

    @property
    def percent(self) -> int:
        return min(100 * self.done // self.total, 100) if self.total else 0

    @property
    def left(self) -> float:
        """Seconds that it will take from now on at this rate."""
        return max(self.total - self.done, 0) / max(self.rate, 1.0)


Say = Callable[[Amount], None]


def lines(log: Log, sentence: str) -> Say:
    """A `Say` that writes lines of log."""
    def say(amount: Amount) -> None:
        log.info(sentence, percent=amount.percent, bytes=amount.done, total=amount.total,
                 rate=f"{amount.rate / 1e6:.0f}MB/s", left=f"{amount.left:.0f}s")

    return say


class Meter:
    """Counts, and tells `say` every so many seconds. Also how a copy is given up: what `stop` was called with is raised in
    every thread that counts."""

    def __init__(self, total: int, say: Say | None, every: float = 5.0) -> None:
        self.total, self._say, self._every = total, say, every
        self.done = 0
        self.began = self._told = time.monotonic()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def add(self, count: int) -> None:
        """`count` more bytes are done; raises Stopped."""
        if self._stopped.is_set():
            raise Stopped
        now = time.monotonic()
        with self._lock:
            self.done += count
            tell = self._say is not None and now - self._told >= self._every
            if tell:
                self._told = now
        if tell and self._say is not None:
            self._say(self.amount())

    def stop(self) -> None:
        """Make all others that count stop."""
        self._stopped.set()

    def amount(self) -> Amount:
        return Amount(self.done, self.total, time.monotonic() - self.began)


class Stopped(Exception):
    """Another thread failed, or the whole was given up."""
