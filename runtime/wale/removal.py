"""Deleting objects in the flow of the program. WAL-E's deleter is a greenlet on the side: when the store refuses, that one
ends, and `delete` reports success although nothing was deleted, or waits for it for ever."""

from __future__ import annotations

from typing import Any

from wal_e.worker.s3 import s3_worker

from runtime.wale.retries import retry

BATCH = 1000  # keys in one request, as many as it takes


class Deleter:
    """What WAL-E hands keys to. They all come from one bucket, because a prefix does."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def delete(self, key: Any) -> None:
        self.waiting.append(key)
        if len(self.waiting) >= BATCH:
            self.close()

    def close(self) -> None:
        """Delete what was handed in; raises a Failure where the store does not."""
        if self.waiting:
            retry()(self.waiting[0].bucket.delete_keys)([key.name for key in self.waiting])
            self.waiting.clear()


def install() -> None:
    s3_worker.Deleter = Deleter
