"""Reading an object that can be large, over connections that can break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.store.errors import Exists, Unanswered, explained


class Stream:
    """An object that is being read. A connection that breaks is made again, from where it broke, to the same object."""

    AGAIN = 3

    def __init__(self, key: str, get: Callable[..., dict[str, Any]]) -> None:
        self.key, self._get = key, get  # `get` asks for the object, with more arguments of boto's get_object
        self._at = 0
        self._again = self.AGAIN
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
        parts: list[bytes] = []
        wanted = self.length - self._at if count is None else min(count, self.length - self._at)
        while wanted:
            part = self._some(wanted)
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
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


