"""The scheduler of a member: sees what is due, runs it as a child process, and tells the cluster how the archive is.

One piece of work at a time. It stays small: whatever needs the store or reads much is in the children.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import json
import os
import signal
import subprocess
import threading
import time
import zlib
from typing import Any

from runtime.api import Api, Unanswered
from runtime.backup import DRILL_LOCK, scratch, work
from runtime.backup.decide import Seen, pause
from runtime.backup.decide import work as due_work
from runtime.etcd import Unreachable
from runtime.log import Log
from runtime.records import Records
from runtime.spec import Spec, StoreSpec, load
from runtime.trouble import Exit, Trouble

LOG = Log("backup")
LOOK = 2.0  # seconds between looks at the role
READ = 20.0  # seconds between looks at the records, and between two reports of the archiver's state
STAGGER = 10  # seconds over which the replicas' drills are spread, so that the second sees the first one's lock
GRACE = 8.0  # seconds that a child has to clean up
REMIND = 86400.0  # seconds between two lines about a drill that failed
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Child:
    """A piece of work in a process group of its own, which ends when the scheduler does."""

    def __init__(self, name: str, path: str) -> None:
        prctl = ctypes.CDLL(None).prctl  # not to be looked up between fork and exec
        self.name, self.began = name, time.time()
        self.process = subprocess.Popen(
            work(name, path), stdin=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM))  # noqa: PLW1509 (no threads here)

    def code(self) -> int | None:
        """Its exit code once it has ended, a signal as a negative number. What it left running ends too."""
        code = self.process.poll()
        if code is not None:
            self._kill(signal.SIGKILL)
        return code

    def stop(self) -> None:
        """Ask it to end, and make sure."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        self._kill(signal.SIGKILL)
        self.process.wait()

    def _kill(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Scheduler:
    """What is known and under way on this member."""

    def __init__(self, path: str, spec: Spec, store: StoreSpec) -> None:
        self.path, self.spec, self.store = path, spec, store
        self.api, self.records = Api(spec), Records(spec)
        self.since = time.time()
        self.role: str | None = None
        self.looked = False
        self.owes_expiry = False  # only a backup that succeeded gives others leave to go
        self.backup: dict[str, Any] | None = None
        self.drill: dict[str, Any] | None = None
        self.own_drill: float | None = None
        self.read_at = self.reminded = -REMIND
        self.told: dict[str, Any] = {}
        self.child: Child | None = None
        self.failures: dict[str, int] = {}
        self.not_before: dict[str, float] = {}

    def round(self) -> None:
        """One look at everything. What cannot be known now is looked at again in the next round."""
        if self.child:
            self.follow(self.child)
        try:
            self.see()
            if not self.child:
                self.begin()
        except (Unanswered, Unreachable):
            return  # Patroni or etcd starts, stops, or is gone, which others watch

    def see(self) -> None:
        role = self.api.role()
        if role != self.role:
            # Whoever becomes primary sees for itself, and has failed in nothing yet.
            self.looked, self.role, self.read_at = False, role, -REMIND
            self.failures, self.not_before = {}, {}
        if time.monotonic() - self.read_at >= READ:
            self.read()
            if role == "primary":
                self.tell()
                self.remind()

    def read(self) -> None:
        self.backup, self.drill = self.records.get("backup"), self.records.get("drill")
        self.read_at = time.monotonic()

    def due(self) -> str | None:
        alone = self.role == "primary" and self.stands_alone()
        seen = Seen(self.spec.member, self.role, alone, self.looked, self.backup, self.drill, self.since, self.own_drill)
        # Local time without a zone, so that the rules of the zone hold for each moment that it is compared with.
        name = due_work(seen, self.store.schedule, self.store.verify_schedule, datetime.datetime.now())
        return name or ("expire" if self.role == "primary" and self.owes_expiry else None)

    def begin(self) -> None:
        """Start what is due, unless it failed a moment ago."""
        name = self.due()
        if name is None or time.monotonic() < self.not_before.get(name, 0):
            return
        if name == "verify":  # which all replicas find due at the same moment
            if name not in self.not_before:
                self.not_before[name] = time.monotonic() + zlib.crc32(self.spec.member.encode()) % STAGGER
                return
            if self.records.etcd.get(self.records.root + DRILL_LOCK) is not None:
                return
            self.read()
            if self.due() != name:
                return
        LOG.info("starting work", work=name)
        self.child = Child(name, self.path)

    def stands_alone(self) -> bool:
        if self.store.verify_schedule == "never":
            return False
        status, answer = self.api.call("GET", "/cluster")
        return status == 200 and isinstance(answer, dict) and len(answer.get("members", ())) == 1

    def follow(self, child: Child) -> None:
        """See whether the child has ended, and what follows from that."""
        if child.name in ("look", "take") and self.role != "primary":
            LOG.info("no longer primary, ending work", work=child.name)
            child.stop()
        code = child.code()
        if code is None:
            return
        self.child, self.read_at = None, -REMIND
        if child.name == "verify" and code in (Exit.OK, Exit.UNPROVEN):
            self.own_drill, code = time.time(), Exit.OK  # its result is recorded, good or bad; the next is as scheduled
        if code == Exit.OK:
            self.failures.pop(child.name, None)
            self.not_before.pop(child.name, None)
            self.looked |= child.name == "look"
            self.owes_expiry = child.name == "take" or (self.owes_expiry and child.name != "expire")
            return
        failures = self.failures[child.name] = self.failures.get(child.name, 0) + 1
        wait = pause(child.name, failures)
        self.not_before[child.name] = time.monotonic() + wait
        LOG.warning("work did not succeed, trying again", work=child.name, code=code, failures=failures, after=f"{wait:.0f}s")
        if child.name == "take":
            self.recorded(child, code)

    def recorded(self, child: Child, code: int) -> None:
        """Make sure that a backup that failed is known of, even one that was killed."""
        with contextlib.suppress(Unreachable):
            record = self.records.get("backup") or {}
            if code != Exit.RETRY and float(record.get("tried", 0)) < child.began:
                self.records.put("backup", {
                    "last": None, **record, "tried": child.began, "member": self.spec.member, "ok": False,
                    "error": f"it ended with code {code}", "seconds": round(time.time() - child.began, 1)})

    def tell(self) -> None:
        """Tell the cluster how the archive is, when that has changed."""
        try:
            status = json.loads(self.store.status.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        status["member"] = self.spec.member
        if {**status, "at": 0} != {**self.told, "at": 0}:
            self.records.put("archive", status)
            self.told = status

    def remind(self) -> None:
        """A drill that failed is not forgotten."""
        drill = self.drill or {}
        if drill.get("result") == "failed" and time.monotonic() - self.reminded >= REMIND:
            self.reminded = time.monotonic()
            LOG.error("the last restore drill FAILED: the archive may not be restorable", backup=drill.get("backup"),
                      reason=drill.get("reason"), member=drill.get("member"))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="runtime.backup schedule", description="Decides when backups and drills are due.")
    parser.add_argument("--spec", required=True)
    path = parser.parse_args(arguments).spec
    spec = load(path)
    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "there is no store for backups", "WAL_S3_BUCKET is not given")
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    scratch.clear(spec.store.scratch, LOG)
    scheduler = Scheduler(path, spec, spec.store)
    while not stopping.is_set():
        scheduler.round()
        stopping.wait(LOOK)
    if scheduler.child:
        scheduler.child.stop()
    return Exit.OK
