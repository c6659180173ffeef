"""The archiver itself, put together from its parts."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.archive.ask import ask
from runtime.archive.fetch import Fetch
from runtime.archive.guard import Guard
from runtime.archive.health import Rarely, Status, Works
from runtime.archive.owner import Owner
from runtime.archive.push import Push
from runtime.archive.server import Alive, Server
from runtime.archive.upload import Upload
from runtime.log import Log
from runtime.store import Denied, Store, StoreError
from runtime.trouble import Exit

TIMEOUT = 10.0  # seconds for an answer of the store; what is done again and how often is decided here, not in boto
MEMORY = 48 << 20  # bytes for uploads that go ahead
BEAT = 1.0
TRY_AGAIN = 5.0  # seconds between two tries of a store that does not work yet; archiving itself does not wait for them
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # mallopt(3)


@dataclass(frozen=True)
class Source:
    """An archive to fetch from: `folder` has its variables."""

    folder: Path
    socket: Path
    spool: Path
    downloads: int = 4
    patience: float = 5.0


@dataclass(frozen=True)
class Own:
    """The part of an archive that is this cluster's own."""

    data: Path
    status: Path
    uploads: int
    guard: Guard


class Opened:
    """The store, opened when it is first needed: a configuration that is wrong is no reason to end. Credentials that are
    refused may have been replaced in their file since, so then it is opened anew now and then."""

    AGAIN = 30.0

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._store: Store | None = None
        self._opened = 0.0

    def doubt(self, error: object) -> None:
        if isinstance(error, Denied) and time.monotonic() - self._opened > self.AGAIN:
            self._store = None

    def __call__(self) -> Store:
        with self._lock:
            if self._store is None:
                self._opened = time.monotonic()
                self._store = Store.open(self._folder, timeout=TIMEOUT, attempts=1)
            return self._store


class Daemon:
    """Answers at a socket; `own` None: it only reads."""

    def __init__(self, source: Source, own: Own | None, log: Log) -> None:
        self._source, self._log = source, log
        self._store = Opened(source.folder)
        self._push: Push | None = None
        self._status: Status | None = None
        if own:
            archiving = Works("archiving", log, lambda: self._status.waiting() if self._status else None,
                              self._store.doubt)
            self._status = Status(own.status, own.data, archiving)
            upload = Upload(self._store, Owner(self._store, log), log, MEMORY)
            self._push = Push(upload, own.guard, log, works=archiving, status=self._status, width=own.uploads)
        self._fetch = Fetch(self._store, source.spool, Works("fetching", log, lambda: None, self._store.doubt), log,
                            width=source.downloads, patience=source.patience,
                            did_fetch=self._status.did_fetch if self._status else lambda: None)

    def handle(self, words: list[str], alive: Alive) -> tuple[int, str]:
        """(exit code, text) for a request."""
        match words:
            case ["push", path]:
                return self._push(Path(path), alive) if self._push else (Exit.REFUSED, "this archive is only read")
            case ["fetch", ("standby" | "target") as mode, name, path]:
                return self._fetch(mode, name, Path(path), alive)
            case ["ping"]:
                return Exit.OK, str(os.getpid())
        return Exit.USAGE, f"no request: {words}"

    def run(self, alive: Callable[[], None]) -> int:
        """Serve, and call `alive` as long as requests are answered. Does not return."""
        Server(self._source.socket, self.handle, self._log).start()
        threading.Thread(target=self._try, daemon=True).start()
        while True:
            start = time.monotonic()
            if ask(self._source.socket, "ping", silence=5.0)[0] == Exit.OK:
                alive()
            if self._status:
                self._status.write()
            time.sleep(max(0.1, start + BEAT - time.monotonic()))

    def _try(self) -> None:
        """Try the store out, until it works, and say what was seen."""
        rarely = Rarely()
        while True:
            try:
                store = self._store()
                said = store.probe() if self._status else f"{len(store.folders(''))} folders"
                break
            except StoreError as error:
                said = f"error: {error}"
                if rarely(""):
                    self._log.warning("the archive does not work yet", error=error)
            if self._status:
                self._status.store = said
            time.sleep(TRY_AGAIN)
        if self._status:
            self._status.store = said
        self._log.info("the archive works", url=store.url, seen=said)


def thrifty() -> None:
    """Give memory back: by default each thread keeps a heap of its own, and freed blocks of a few megabytes stay."""
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_ARENA_MAX, 2)
    libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
