"""Who may archive: the member that holds the leader lock, and a former primary its own leftovers.

Leftovers are what PostgreSQL had not archived when it stopped being the primary; Patroni has them archived before it
rewinds. They go the same way as everything, which never overwrites.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from pathlib import Path
from typing import Protocol

from runtime.api import Api, Unanswered

FRESH = 1.0  # seconds for which Patroni's answer counts
_IN_PRODUCTION = 6  # DBState, src/include/catalog/pg_control.h


def runs(data: Path) -> bool:
    """Whether the postmaster of `data` runs. A number left over by another container may be somebody else's."""
    try:
        pid = abs(int((data / "postmaster.pid").read_text(encoding="ascii").split()[0]))
        return os.path.samefile(f"/proc/{pid}/cwd", data)
    except (OSError, ValueError, IndexError):
        return False


def in_production(data: Path) -> bool:
    """Whether the PostgreSQL of `data` runs as a primary, and is not about to stop."""
    try:
        with open(data / "global" / "pg_control", "rb") as file:
            state = struct.unpack("=QIII", file.read(20))[3]
    except (OSError, struct.error):
        return False
    return bool(state == _IN_PRODUCTION) and runs(data)


class Guard(Protocol):
    """Decides."""

    def may(self, data: Path) -> bool:
        """Whether files of the data directory `data` may be archived now. False: it is not clear yet."""
        ...


class LeaderOnly:
    """The guard of a member: Patroni knows who the leader is."""

    def __init__(self, api: Api) -> None:
        self._api, self._lock = api, threading.Lock()
        self._asked, self._leader = -FRESH, False

    def leader(self) -> bool:
        with self._lock:
            if time.monotonic() - self._asked > FRESH:
                try:
                    self._leader = self._api.call("GET", "/primary", timeout=2.0)[0] == 200
                except Unanswered:
                    self._leader = False
                self._asked = time.monotonic()
            return self._leader

    def may(self, data: Path) -> bool:
        return self.leader() or not in_production(data)
