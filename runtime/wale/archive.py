"""What WAL may be put into an archive. WAL-E's wal-push replaces whatever is there, also with another cluster's WAL."""

from __future__ import annotations

import json
import re

from runtime import lzop, wal
from runtime.store import Absent, Exists, Store
from runtime.trouble import Exit
from runtime.wale.failure import Failure

_WAL = re.compile(r"(?P<prefix>(?:.*/)?)wal_005/(?P<name>[^/]+)\.lzo")
_OWNER = "spilo_005/system.json"  # which cluster an archive belongs to; written by the archiver


def is_wal(key: str) -> bool:
    """Whether an object is a file of WAL, by its key in the bucket."""
    return bool(_WAL.fullmatch(key))


def owner(store: Store, prefix: str) -> str | None:
    """The system identifier of the cluster that the archive below `prefix` (which ends in /) belongs to, if it says so."""
    try:
        said = json.loads(store.get(f"{prefix}{_OWNER}"))
    except Absent:
        return None
    return str(said["system_identifier"])


def put(store: Store, key: str, packed: bytes) -> int:
    """Add a file of WAL, in its container, and return the bytes of that. Raises a Failure where it is not what its name
    says, belongs to another cluster, or would replace other content."""
    match = _WAL.fullmatch(key)
    assert match, key
    content = lzop.unpack(packed)
    if wal.kind(match["name"]) in (wal.Kind.SEGMENT, wal.Kind.PARTIAL):
        try:
            wal.check(match["name"], content[: wal.HEADER], len(content), owner(store, match["prefix"]))
        except ValueError as error:
            raise Failure(Exit.REFUSED, "this file is not archived under its name", f"{match['name']}: {error}") from None
    # Asked first, because not every store honours the condition.
    there = _there(store, key)
    if there is None:
        try:
            store.put(key, packed, new=True)
        except Exists:
            there = _there(store, key)
    if there is not None and not _same(there, content):
        raise Failure(
            Exit.REFUSED, "the archive has a file of this name with other content", f"s3://{store.bucket}/{key}",
            "Two clusters or two copies of one write to the same prefix. Nothing was replaced; find out which one should.")
    return len(packed)


def _there(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except Absent:
        return None


def _same(packed: bytes, content: bytes) -> bool:
    try:
        return lzop.unpack(packed) == content
    except lzop.Corrupt:
        return False
