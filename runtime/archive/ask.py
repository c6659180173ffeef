"""Asking the resident archiver from our own tools. Requests are words that end in NUL, then the end of the stream; the
answer is an empty line each second while it works, then `CODE text`."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from runtime.trouble import Exit


def ask(path: Path, *words: str, silence: float = 10.0, patience: float = 600.0) -> tuple[int, str]:
    """(exit code, text) for `push PATH`, `fetch MODE NAME PATH` or `ping`. RETRY when nobody answers: nothing was heard
    for `silence` seconds, or no answer within `patience`."""
    deadline = time.monotonic() + patience
    said = b""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(silence)
            connection.connect(str(path))
            connection.sendall("".join(f"{word}\0" for word in words).encode("utf-8", "surrogateescape"))
            connection.shutdown(socket.SHUT_WR)
            while time.monotonic() < deadline and (more := connection.recv(4096)):
                said = (said + more).lstrip(b"\n")
    except OSError as error:
        return int(Exit.RETRY), f"the archiver at {path} does not answer: {error}"
    code, _, text = said.decode("utf-8", "replace").strip().partition(" ")
    return (int(code), text) if code.isdigit() else (int(Exit.RETRY), f"the archiver at {path} gave no answer")
