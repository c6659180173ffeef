"""Trying again, in place of WAL-E's: that one gives random.randint a float, which Python refuses since 3.12, so it dies
of a TypeError at the first retry. It also tries everything a hundred times, as a full disk or a wrong password."""

from __future__ import annotations

import functools
import itertools
import os
import random
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gevent
import wal_e.retries
from wal_e import log_help

from runtime.wale.failure import Failure

LOG = log_help.WalELogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


def retry(_processor: object = None, max_retries: int = 100) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: failures that can get better are tried again, `max_retries` times (or WALE_RETRIES; 0 is without end),
    with pauses that grow to two minutes."""
    attempts = int(os.environ.get("WALE_RETRIES", max_retries))

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def persistent(*args: P.args, **kwargs: P.kwargs) -> R:
            for attempt in itertools.count(1):
                try:
                    return function(*args, **kwargs)
                except Failure as failure:
                    if not failure.again or attempt == attempts:
                        raise
                    LOG.warning(msg="trying again", detail=f"Attempt {attempt}: {failure.msg}: {failure.detail}")
                gevent.sleep(pause(attempt))
            raise AssertionError("unreachable")

        return persistent

    return decorate


def pause(attempt: int) -> float:
    """Seconds to wait after so many attempts: exponential, capped, never the same for two that fail together."""
    half: float = min(120, 2 ** min(attempt, 7)) / 2
    return half + random.uniform(0.0, half)


def install() -> None:
    """To be called before WAL-E's workers are imported, which decorate their functions then."""
    stock: Any = wal_e.retries
    stock.retry = retry
