"""backup-push --while-offline names a backup after the segment in which recovery begins. WAL-E takes two digits of the
position for that, which are the right ones in one position of sixteen only."""

from __future__ import annotations

from typing import Any

from wal_e.worker.pg.pg_controldata_worker import PgControlDataParser

from runtime import wal


def position(control: dict[str, str]) -> dict[str, str]:
    """Where recovery begins, as WAL-E spells it, from the fields of pg_controldata."""
    lsn = wal.parse_lsn(control["Latest checkpoint's REDO location"])
    size = int(control["Bytes per WAL segment"])
    segment = wal.Segment.at(int(control["Latest checkpoint's TimeLineID"]), lsn, size)
    return spelled(segment.name(size), lsn % size)


def spelled(name: str, offset: int) -> dict[str, str]:
    """A segment and the offset in it, in bytes: eight decimal digits, although they look like the hexadecimal beside. In
    segments of 128 MB and more there are offsets that eight digits do not hold; then the highest one that they do."""
    return {"file_name": name, "file_offset": f"{min(offset, 99_999_999):08d}"}


def install() -> None:
    def last_xlog_file_name_and_offset(self: Any) -> dict[str, str]:
        return position(self._read_controldata())

    PgControlDataParser.last_xlog_file_name_and_offset = last_xlog_file_name_and_offset
