"""The cures for WAL-E, each for itself. They run here beside WAL-E's own modules, which are in another environment."""

from __future__ import annotations

import argparse
import glob
import io
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import lzop
from runtime.store import Absent, Denied, Unanswered
from runtime.trouble import Exit


@pytest.fixture(autouse=True)
def wale(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """WAL-E can be imported, its S3 storage replaced, as the entry point does it."""
    for site in glob.glob("/opt/wal-e/lib/python3*/site-packages"):
        monkeypatch.syspath_prepend(site)
    from runtime.wale import blobstore

    monkeypatch.setitem(sys.modules, "wal_e.blobstore.s3", blobstore)
    monkeypatch.setattr(sys.modules["wal_e.blobstore"], "s3", blobstore, raising=False)
    yield


def failing(error: BaseException | None, code: int | str | None) -> SystemExit:
    """How WAL-E leaves: from where it handled `error`."""
    try:
        if error is None:
            sys.exit(code)
        try:
            raise error
        except type(error):
            sys.exit(code)
    except SystemExit as end:
        return end


def test_exit_codes() -> None:
    """A failure has the exit code of its kind, the rest WAL-E's; but wal-fetch says 1 only for what is not there."""
    from wal_e.exception import UserException

    from runtime.wale.failure import Failure, exit_code, of_store

    refused = Failure(Exit.REFUSED, "no")
    table: list[tuple[str, BaseException | None, int, int]] = [
        ("backup-push", refused, 1, 5), ("wal-push", of_store(Unanswered("late")), 1, 4), ("wal-push", of_store(Denied("no")), 1, 4),
        ("backup-list", UserException("x"), 1, 1), ("backup-list", None, 0, 0), ("backup-list", ValueError("x"), 2, 2),
        ("backup-fetch", of_store(Absent("x")), 1, 1),
        ("wal-fetch", None, 0, 0), ("wal-fetch", None, 1, 1), ("wal-fetch", of_store(Unanswered("late")), 1, 254),
        ("wal-fetch", refused, 1, 254), ("wal-fetch", UserException("x"), 1, 254), ("wal-fetch", OSError(28, "full"), 2, 254),
        ("wal-fetch", argparse.ArgumentError(None, "x"), 2, 254)]
    for command, error, code, expected in table:
        assert exit_code(command, failing(error, code)) == expected, (command, error, code)


def test_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what can get better is tried again, with growing pauses, as often as WALE_RETRIES says."""
    import gevent

    from runtime.wale.failure import Failure
    from runtime.wale.retries import retry

    monkeypatch.setenv("WALE_RETRIES", "5")
    pauses: list[float] = []
    monkeypatch.setattr(gevent, "sleep", pauses.append)
    late = Failure(Exit.RETRY, "late", again=True)
    for errors, tries in (([late, late], 3), ([late] * 9, 5), ([late, Failure(Exit.REFUSED, "no")], 2), ([OSError(28, "full")], 1)):
        left, calls = list(errors), []

        @retry()
        def call(left: list[Exception] = left, calls: list[int] = calls) -> str:
            calls.append(1)
            if left:
                raise left.pop(0)
            return "done"

        if len(errors) < tries:
            assert call() == "done"
        else:
            with pytest.raises((Failure, OSError)):
                call()
        assert len(calls) == tries
    assert 1 <= pauses[0] <= 2 <= pauses[1] <= 4


def test_pauses_are_capped() -> None:
    """No pause is longer than two minutes, after however many attempts."""
    from runtime.wale.retries import pause

    assert all(60 <= pause(attempt) <= 120 for attempt in (7, 20, 5000))


@pytest.mark.parametrize(("name", "size", "expected"), [
    ("0000000100000000000000FE", 16 << 20, ["0000000100000000000000FF", "000000010000000100000000"]),
    ("0000000100000000000000FF", 1 << 20, ["000000010000000000000100", "000000010000000000000101"]),
    ("00000001000000000000003E", 64 << 20, ["00000001000000000000003F", "000000010000000100000000"]),
    ("00000002.history", 16 << 20, []),
    ("0000000100000000000000FE.partial", 16 << 20, [])])
def test_following(name: str, size: int, expected: list[str]) -> None:
    """The names of the next segments are right for every size of segments; only a segment has any."""
    from runtime.wale.prefetch import following

    assert following(name, size, 2) == expected


def test_size_unknown(tmp_path: Path) -> None:
    """Where there is no data directory the size of segments is not known."""
    from runtime.wale.prefetch import size_of

    assert size_of(tmp_path) is None


@pytest.mark.parametrize(("lsn", "size", "expected"), [
    ("0/3000028", 16 << 20, ("000000020000000000000003", "00000040")),
    ("1/AB000060", 16 << 20, ("0000000200000001000000AB", "00000096")),
    ("0/3000028", 1 << 20, ("000000020000000000000030", "00000040")),
    ("2/7FFFFFF", 64 << 20, ("000000020000000200000001", "67108863")),
    ("2/3FFFFFFF", 1 << 30, ("000000020000000200000000", "99999999"))])
def test_offline_position(lsn: str, size: int, expected: tuple[str, str]) -> None:
    """The name of an offline backup says where recovery begins; the offset is decimal, as WAL-E writes it."""
    from runtime.wale.offline import position

    control = {"Latest checkpoint's REDO location": lsn, "Latest checkpoint's TimeLineID": "2", "Bytes per WAL segment": str(size)}
    assert position(control) == {"file_name": expected[0], "file_offset": expected[1]}


def test_failed_pipeline_ends() -> None:
    """A pipeline whose user fails ends its processes, although nobody reads what they write; the error stays itself."""
    from wal_e.pipeline import CatFilter, Pipeline
    from wal_e.piper import PIPE

    from runtime.wale import pipelines

    stock = Pipeline.__exit__
    pipelines.install()
    try:
        command: Any = CatFilter()
        command._command = ["cat", "/dev/zero"]
        with pytest.raises(UnicodeDecodeError), Pipeline([command], PIPE, PIPE):
            b"\xff".decode()
        assert command.returncode is not None
    finally:
        Pipeline.__exit__ = stock


def test_label_partition() -> None:
    """The label is a partition like any other: a tar of files in the container of lzop."""
    from runtime.wale.online import partition

    with tarfile.open(fileobj=io.BytesIO(lzop.unpack(partition({"backup_label": "START", "tablespace_map": "1 /ä\n"})))) as tar:
        assert {member.name: tar.extractfile(member).read().decode() for member in tar} == {  # type: ignore[union-attr]
            "backup_label": "START", "tablespace_map": "1 /ä\n"}
        assert {member.mode for member in tar.getmembers()} == {0o600}


@pytest.mark.parametrize(("key", "expected"), [
    ("spilo/x/wal/17/wal_005/000000010000000000000001.lzo", True), ("wal_005/00000002.history.lzo", True),
    ("spilo/wal_005/wal_005/000000010000000000000001.00000028.backup.lzo", True),
    ("x/basebackups_005/base_000000010000000000000001_00000040/tar_partitions/part_00000000.tar.lzo", False),
    ("x/basebackups_005/base_000000010000000000000001_00000040_backup_stop_sentinel.json", False), ("x/wal_005/a/b.lzo", False)])
def test_what_is_wal(key: str, expected: bool) -> None:
    """Files of WAL are told from the parts of backups by their key."""
    from runtime.wale.archive import is_wal

    assert is_wal(key) is expected


def test_tablespace_map(tmp_path: Path) -> None:
    """The map of a restored backup names where its own links lead; what has no link keeps the place of the backup."""
    from runtime.wale.restore import keep_links

    (tmp_path / "pg_tblspc").mkdir()
    (tmp_path / "pg_tblspc" / "16400").symlink_to("/new/a \\ b")
    (tmp_path / "tablespace_map").write_text("16400 /old/with\\\nline\n16401 /old/other\n", encoding="utf-8")
    keep_links(tmp_path)
    assert (tmp_path / "tablespace_map").read_text(encoding="utf-8") == "16400 /new/a \\\\ b\n16401 /old/other\n"


def test_wal_place(tmp_path: Path) -> None:
    """A link for pg_wal that came out of a backup is not followed: the link from before comes back."""
    from runtime.wale.restore import keep_wal_place

    (tmp_path / "pg_wal").symlink_to("/theirs")
    keep_wal_place(tmp_path, "/ours")
    assert os.readlink(tmp_path / "pg_wal") == "/ours"
    keep_wal_place(tmp_path, None)
    assert (tmp_path / "pg_wal").is_dir() and not (tmp_path / "pg_wal").is_symlink()


def test_restore_specification(tmp_path: Path) -> None:
    """A restore specification that leads into another directory, or into a place in use, is refused."""
    from runtime.wale.failure import Failure
    from runtime.wale.restore import guard

    place = tmp_path / "space"
    spec = {"base_prefix": str(tmp_path / "data"), "tablespaces": ["16400"], "16400": {"loc": str(place)}}
    guard(spec, f"{tmp_path}/data/")
    place.mkdir()
    guard(spec, str(tmp_path / "data"))
    (place / "PG_17").mkdir()
    with pytest.raises(Failure, match="not empty"):
        guard(spec, str(tmp_path / "data"))
    with pytest.raises(Failure, match="another directory"):
        guard(spec, str(tmp_path / "other"))
