"""Reading an object that can be large, over connections that can break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.store.errors import Exists, Unanswered, explained


class Stream:
    """An object that is being read. A connection that breaks is made again, from where it broke, to the same object."""

    AGAIN = 3
    AHEAD = 1 << 20  # bytes taken from the connection at a time: readers of containers ask for a few at a time

    def __init__(self, key: str, get: Callable[..., dict[str, Any]]) -> None:
        self.key, self._get = key, get  # `get` asks for the object, with more arguments of boto's get_object
        self._at = 0
        self._again = self.AGAIN
        self._have = memoryview(b"")
        answer = self._open()
        self.length = int(answer["ContentLength"])
        self._etag = answer["ETag"]

    def _open(self, **more: str) -> dict[str, Any]:
        with explained(f"get {self.key}"):
            answer: dict[str, Any] = self._get(**more)
        self._body = answer["Body"]
        return answer

    def read(self, count: int | None = None) -> bytes:
        """Up to `count` bytes (all: None), nothing at the end only; raises Unanswered where it does not come whole."""
        left = len(self._have) + self.length - self._at
        wanted = left if count is None else min(count, left)
        if wanted <= len(self._have):
            part, self._have = self._have[:wanted], self._have[wanted:]
            return bytes(part)
        parts: list[bytes | memoryview] = [self._have]
        wanted -= len(self._have)
        while wanted:
            piece = self._some(min(max(wanted, self.AHEAD), self.length - self._at))
            self._at += len(piece)
            view = memoryview(piece)
            parts.append(view[:wanted])
            self._have = view[wanted:]
            wanted -= len(parts[-1])
        return b"".join(parts)

    def _some(self, wanted: int) -> bytes:
        while True:
            try:
                with explained(f"get {self.key}"):
                    part = bytes(self._body.read(wanted))
                if part:
                    return part
                raise Unanswered(f"get {self.key}: it ended after {self._at} of {self.length} bytes")
            except Unanswered:
                if not self._again:
                    raise
                self._again -= 1
                self._body.close()
                try:
                    self._open(Range=f"bytes={self._at}-", IfMatch=self._etag)
                except Exists:  # the condition failed: it was replaced meanwhile
                    raise Unanswered(f"get {self.key}: it changed while it was read") from None

    def close(self) -> None:
        self._body.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


