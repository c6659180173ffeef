"""Whose archive it is. A prefix belongs to the cluster with one system identifier; two clusters that write to one prefix
would leave neither of them restorable."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from runtime import lzop, wal
from runtime.log import Log
from runtime.store import Absent, Exists, Store
from runtime.trouble import Exit, Trouble

KEY = "spilo_005/system.json"
WAL = "wal_005/"
AGAIN = 10.0  # seconds for which a refusal counts


class Owner:
    """Claims the prefix for a system identifier, once a process; refuses when it is another's."""

    def __init__(self, store: Callable[[], Store], log: Log) -> None:
        self._store, self._log = store, log
        self._lock = threading.Lock()
        self._ours: set[str] = set()
        self._refused: dict[str, tuple[float, Trouble]] = {}

    def claim(self, system: str) -> None:
        """Make sure that the prefix belongs to `system`; raises Trouble(REFUSED), StoreError."""
        if system in self._ours:
            return
        with self._lock:
            at, refusal = self._refused.get(system, (0.0, None))
            if refusal and time.monotonic() - at < AGAIN:
                raise refusal
            try:
                self._claim(self._store(), system)
            except Trouble as trouble:
                self._refused[system] = time.monotonic(), trouble
                raise
            self._ours.add(system)

    def _claim(self, store: Store, system: str) -> None:
        theirs = self._read(store)
        if theirs is None:
            theirs = self._written_by(store)
            if theirs is None or theirs == system:
                try:
                    store.put(KEY, json.dumps({"system_identifier": system}).encode(), new=store.conditional())
                    self._log.info("this archive belongs to this cluster from now on", url=store.url, system=system,
                                   adopted=theirs is not None)
                except Exists:
                    pass
                theirs = self._read(store)  # where the store cannot refuse, the last one who wrote has it
        if theirs != system:
            raise Trouble(Exit.REFUSED, f"the archive {store.url} belongs to another cluster",
                          f"system identifier {theirs} there, {system} here",
                          "give this cluster another SCOPE or WAL_BUCKET_SCOPE_SUFFIX")

    def _read(self, store: Store) -> str | None:
        try:
            return str(json.loads(store.get(KEY))["system_identifier"])
        except Absent:
            return None
        except (ValueError, KeyError, TypeError):
            raise Trouble(Exit.REFUSED, f"it is not known whose archive {store.url} is", f"{KEY} is no JSON of ours",
                          "correct or remove that object") from None

    def _written_by(self, store: Store) -> str | None:
        """Whose WAL there is already, written by a WAL-E without our mark: what the newest segment says."""
        segments = (one for one in store.list(WAL) if wal.kind(one.key[len(WAL):].removesuffix(".lzo")) is wal.Kind.SEGMENT)
        newest = max(segments, key=lambda one: (one.modified, one.key), default=None)
        if newest is None:
            return None
        try:
            with store.stream(newest.key) as body:
                return wal.Header.parse(lzop.Reader(body).read(wal.HEADER)).system
        except (lzop.Corrupt, ValueError) as error:
            raise Trouble(Exit.REFUSED, f"it is not known whose archive {store.url} is", f"{newest.key}: {error}",
                          f"put the right identifier into {KEY}") from None
