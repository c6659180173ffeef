"""What can go wrong with a store, told apart.

The distinction that everything else rests on: only the store's own "no such key" is Absent. Whatever else goes wrong
says nothing about what is in the store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as Unconnected

PASSING = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded", "InternalError",
            "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict", "BadDigest", "IncompleteBody"}


class StoreError(Exception):
    """The store did not do what was asked; the text says why, in one line."""


class Absent(StoreError):
    """The store itself said that there is no such object."""


class Exists(StoreError):
    """There is an object under that key already, and it was to be a new one."""


class Unanswered(StoreError):
    """No usable answer: out of reach, too busy, broken off. Trying again can help."""


class Denied(StoreError):
    """The store answers, and refuses: credentials, permissions, bucket, clock. A person has to do something."""


def explain(error: Exception, what: str) -> StoreError:
    """The StoreError for what boto raised while doing `what`."""
    if not isinstance(error, ClientError):
        passing = isinstance(error, HTTPClientError | Unconnected | OSError) or "Read" in type(error).__name__
        kind = Unanswered if passing else Denied
        return kind(f"{what}: {' '.join(str(error).split())}")
    answer: dict[str, Any] = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"{what}: {status} {code} {' '.join(str(answer.get('Error', {}).get('Message', '')).split())}".strip()
    if code == "NoSuchKey":
        return Absent(text)
    if code in ("PreconditionFailed", "412"):
        return Exists(text)
    if code == "NotImplemented":  # 501: asking again does not help
        return Denied(text)
    if status >= 500 or status in (0, 408, 409, 429) or code in PASSING:
        return Unanswered(text)
    return Denied(text)


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns what boto raises into a StoreError."""
    try:
        yield
    except (ClientError, BotoCoreError, OSError) as error:
        raise explain(error, what) from None
