"""The socket: one request a connection, one thread each. While it works, an empty line tells the client so."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from runtime.log import Log
from runtime.trouble import Exit

MOST = 64  # requests at a time
LONGEST = 16384  # bytes of a request

Alive = Callable[[], None]
Handler = Callable[[list[str], Alive], tuple[int, str]]


class Gone(Exception):
    """Who asked is not there any more."""




class Server:
    """Answers at the unix socket `path`, for our own user only."""

    def __init__(self, path: Path, handle: Handler, log: Log) -> None:
        self._handle, self._log = handle, log
        self._free = threading.BoundedSemaphore(MOST)
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(new))
        new.chmod(0o600)
        self._socket.listen(MOST)
        os.replace(new, path)  # who connects finds one that listens, or none

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self._free.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            else:
                connection.close()  # without an answer it asks again

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            try:
                connection.settimeout(5)
                code, text = self._answer(connection)
                connection.sendall(f"{int(code)} {' '.join(text.split())}\n".encode("utf-8", "replace"))
            finally:
                self._free.release()

    def _answer(self, connection: socket.socket) -> tuple[int, str]:
        said = b""
        while more := connection.recv(4096):
            said += more
            if len(said) > LONGEST:
                return Exit.USAGE, "the request is too long"
        if not said.endswith(b"\0"):
            return Exit.USAGE, "the request is not whole"

        def alive() -> None:
            try:
                connection.sendall(b"\n")
            except OSError as error:
                raise Gone from error

        try:
            return self._handle([os.fsdecode(word) for word in said[:-1].split(b"\0")], alive)
        except Gone:
            return Exit.RETRY, "nobody listens"
        except Exception as error:
            self._log.error("unexpected exception, please report it", code=int(Exit.BUG))
            traceback.print_exc()
            return Exit.BUG, f"{type(error).__name__}: {error}"
