"""`spilo backup`: what its lists and its command line look like."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.basebackup.target import Target
from runtime.cli import backup as command
from runtime.cli import restore
from runtime.cli.__main__ import parse
from runtime.trouble import Trouble
from tests.unit.test_basebackup import backup, catalog, segments


def shapes(*backups: object) -> list[dict[str, object]]:
    found = catalog(*backups, wal=segments((1, 3, 9)))  # type: ignore[arg-type]
    return [command.shape(found, one) for one in found.backups]


def test_table() -> None:
    """A row a backup: when, how large, from where to where, proven or not, and why it cannot be used."""
    good = backup(3, size=5 << 30, stored=1 << 30, seconds=12.4, drill={"result": "ok"})
    bad = backup(4, tool="wal-e", guessed=True, drill={"result": "failed"}, problem="part_00000001.tar.lzo is missing")
    lines = command.render(shapes(good, bad)).splitlines()
    assert lines[0].split() == list(command.HEAD)
    assert lines[1].split() == [good.name, "1970-01-01", "00:50:00", "1", "5.0", "GiB", "1.0", "GiB", "0/3000028", "0/3000154",
                                "12", "s", "ok", "spilo", "yes"]
    assert "01:06:40 ~" in lines[2] and "FAILED" in lines[2] and lines[2].endswith("part_00000001.tar.lzo is missing")
    assert lines[-1].startswith("~ the time is the store's")
    assert command.render([]) == "no base backup yet\n"


def test_shape() -> None:
    """The JSON has moments in RFC 3339 and sizes in bytes; what is not known is null."""
    one, = shapes(backup(3, complete=False, finished=None, stop_lsn=None, size=None))
    assert one["stop_lsn"] is None and one["size_bytes"] is None and one["usable"] is False
    assert "not complete" in str(one["why_not"])
    assert shapes(backup(3))[0]["finished"] == "1970-01-01T00:50:00+00:00"


@pytest.mark.parametrize(("words", "target"), [
    ([], Target()), (["--target-time", "2026-01-31 13:45:00Z"], Target("time", "2026-01-31 13:45:00Z")),
    (["--target-lsn", "0/5", "--target-exclusive"], Target("lsn", "0/5", inclusive=False)),
    (["--target-name", "x", "--target-timeline", "3"], Target("name", "x", "3"))])
def test_target(words: list[str], target: Target) -> None:
    """The options of restore name one target."""
    assert restore.wanted(parse(["backup", "restore", "--to", "/x", *words])) == target


def test_one_target_only() -> None:
    """Two targets contradict each other."""
    with pytest.raises(SystemExit):
        parse(["backup", "restore", "--to", "/x", "--target-lsn", "0/5", "--target-name", "x"])


def test_tablespaces_go_elsewhere() -> None:
    """Tablespaces are restored beside the copy, or where the person says, never where the cluster has them."""
    one = backup(3, tablespaces={7: "/live/a", 8: "/live/b"})
    assert restore.places(one, Path("/x/to"), ["8=/y"]) == {7: Path("/x/to-tablespaces/7"), 8: Path("/y")}
    for wrong in ("9=/y", "7=", "7", "a=/y"):
        with pytest.raises(Trouble):
            restore.places(one, Path("/x/to"), [wrong])


def test_settings_are_quoted(tmp_path: Path) -> None:
    """Recovery is asked for with settings that come last and are quoted as PostgreSQL reads them."""
    (tmp_path / "postgresql.auto.conf").write_text("work_mem = '1MB'\n", encoding="utf-8")
    restore.prepare(tmp_path, {"recovery_target_name": "it's \\here"})
    assert (tmp_path / "postgresql.auto.conf").read_text(encoding="utf-8").splitlines()[-1] == r"recovery_target_name = 'it''s \\here'"
    assert (tmp_path / "recovery.signal").exists()
