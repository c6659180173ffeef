"""A pipeline that fails ends its processes. WAL-E waits for them, and they wait for somebody who reads: when a disk is
full while a backup is restored, that is for ever."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

from wal_e.pipeline import Pipeline


def kill(pipeline: Any) -> None:
    """Kill the processes of a pipeline; whoever reads from or writes to it then learns that it has ended."""
    for command in pipeline.commands:
        if command._process is not None:
            command._process.kill()
            command._process.wait()


def end(pipeline: Any) -> None:
    """Kill the processes and close the ends. No greenlet may wait for one of those then: libev aborts at that."""
    kill(pipeline)
    for side in (pipeline.stdin, pipeline.stdout):
        if side is not None:
            with contextlib.suppress(OSError):
                side.close()


def install() -> None:
    stock = Pipeline.__exit__

    def leave(self: Any, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            stock(self, kind, error, trace)
        else:
            end(self)

    Pipeline.__exit__ = leave
