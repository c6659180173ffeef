"""Waiting for a condition, never for a time: every wait has a sentence, a deadline, and says what it saw last."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# What a mistake in a test raises; waiting would only hide it.
MISTAKES = (TypeError, NameError, AttributeError, SyntaxError)


def eventually(sentence: str, condition: Callable[[], T], within: float, every: float = 0.2) -> T:
    """The first true value of `condition()`, asked `every` so many seconds; AssertionError after `within` seconds.

    A condition that raises counts as not (yet) true; the message of the last exception is in the AssertionError.
    `sentence` states what is waited for: "a replica is primary".
    """
    deadline = time.monotonic() + within
    while True:
        try:
            value = condition()
            if value:
                return value
            last = f"last seen: {value!r}"
        except MISTAKES:
            raise
        except Exception as error:
            last = f"last seen: {type(error).__name__}: {error}"
        if time.monotonic() >= deadline:
            raise AssertionError(f"{sentence}: not within {within:g} s; {last}")
        time.sleep(every)


def always(sentence: str, condition: Callable[[], object], during: float, every: float = 0.2) -> None:
    """AssertionError as soon as `condition()` is false within the next `during` seconds."""
    deadline = time.monotonic() + during
    while time.monotonic() < deadline:
        value = condition()
        assert value, f"{sentence}: no longer true {deadline - time.monotonic():.1f} s before the end; seen: {value!r}"
        time.sleep(every)
