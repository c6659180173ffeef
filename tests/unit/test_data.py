"""What a data directory says about itself, and which ones a boot accepts."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap import apply, layout
from bootstrap.layout import Layout
from runtime import postgres
from runtime.log import Log
from runtime.replica.from_leader import marker
from runtime.trouble import Exit, Trouble
from tests.unit.samples import good

IDENTIFIER = 7460000000000000001


@pytest.fixture
def paths(tmp_path: Path) -> Layout:
    """A layout with an empty volume."""
    found = layout.make(good({}), str(tmp_path))
    found.pgdata.mkdir(parents=True)
    return found


def whole(data: Path, version: str = "17") -> None:
    """Make `data` look like a whole data directory."""
    (data / "global").mkdir(parents=True)
    (data / "PG_VERSION").write_text(f"{version}\n")
    (data / "global" / "pg_control").write_bytes(struct.pack("=Q", IDENTIFIER) + bytes(8184))


def content(data: Path) -> Iterator[str]:
    """Everything in a folder, by name."""
    return (str(path.relative_to(data)) for path in sorted(data.rglob("*")))


def test_empty(tmp_path: Path) -> None:
    """No directory, an empty one, and the root of a fresh file system are empty."""
    assert postgres.is_empty(tmp_path / "none")
    assert postgres.is_empty(tmp_path)
    (tmp_path / "lost+found").mkdir()
    assert postgres.is_empty(tmp_path)
    (tmp_path / ".hidden").touch()
    assert not postgres.is_empty(tmp_path)


def test_nothing_to_say(tmp_path: Path) -> None:
    """Where there are no files of PostgreSQL, there is no version and no identifier."""
    for data in (tmp_path, tmp_path / "none"):
        assert (postgres.major_version(data), postgres.system_identifier(data)) == (None, None)


def test_version_and_identifier(tmp_path: Path) -> None:
    """Version and system identifier are read from the files, as text."""
    whole(tmp_path)
    assert (postgres.major_version(tmp_path), postgres.system_identifier(tmp_path)) == ("17", str(IDENTIFIER))


def test_torn_control_file(tmp_path: Path) -> None:
    """A pg_control that is too short says nothing."""
    whole(tmp_path)
    (tmp_path / "global" / "pg_control").write_bytes(b"1234567")
    assert postgres.system_identifier(tmp_path) is None


@pytest.mark.parametrize("names", [[], ["lost+found/"], ["PG_VERSION", "global/", "global/pg_control"]])
def test_accepted(names: list[str], paths: Layout) -> None:
    """An empty data directory and a whole one of this version are accepted and left as they are."""
    if "PG_VERSION" in names:
        whole(paths.pgdata)
    elif names:
        (paths.pgdata / "lost+found").mkdir()
    before = list(content(paths.pgdata))
    apply.check_data(paths, "17", Log("test"))
    assert list(content(paths.pgdata)) == before


def test_missing(paths: Layout) -> None:
    """No data directory at all is accepted."""
    paths.pgdata.rmdir()
    apply.check_data(paths, "17", Log("test"))


@pytest.mark.parametrize(("made", "removed", "words"), [
    (["base/1"], [], "no PG_VERSION"),
    (["PG_VERSION"], [], "no global/pg_control"),
    (["lost+found/x"], [], None),
    (["postgresql.conf", "lost+found/x"], [], "no PG_VERSION"),
    ([], ["PG_VERSION"], "no PG_VERSION"),
    ([], ["global/pg_control"], "no global/pg_control"),
])
def test_half_initialised(made: list[str], removed: list[str], words: str | None, paths: Layout) -> None:
    """What is neither empty nor whole is refused and left alone, with what is missing and what to do."""
    if removed:
        whole(paths.pgdata)
    for name in made:
        (paths.pgdata / name).parent.mkdir(parents=True, exist_ok=True)
        (paths.pgdata / name).write_text("17")
    for name in removed:
        (paths.pgdata / name).unlink()
    before = list(content(paths.pgdata))
    if words is None:
        apply.check_data(paths, "17", Log("test"))
    else:
        with pytest.raises(Trouble) as caught:
            apply.check_data(paths, "17", Log("test"))
        assert caught.value.code == Exit.REFUSED
        assert words in caught.value.detail
        assert "left alone" in caught.value.message
        assert caught.value.hint
    assert list(content(paths.pgdata)) == before


def test_another_version(paths: Layout) -> None:
    """Data of another major version is refused, with both versions."""
    whole(paths.pgdata, "16")
    with pytest.raises(Trouble, match="of PostgreSQL 16, this image has 17") as caught:
        apply.check_data(paths, "17", Log("test"))
    assert caught.value.code == Exit.REFUSED


@pytest.mark.parametrize("complete", [False, True])
def test_unfinished_copy(complete: bool, paths: Layout) -> None:
    """An unfinished copy of our own, which nobody has started, is removed with its mark."""
    if complete:
        whole(paths.pgdata)
    (paths.pgdata / "base").mkdir()
    marker(paths.pgdata).touch()
    apply.check_data(paths, "17", Log("test"))
    assert not paths.pgdata.exists()
    assert not marker(paths.pgdata).exists()


def test_unfinished_copy_that_runs(paths: Layout) -> None:
    """A marked copy with a server's lock file has been in use, and is never removed."""
    (paths.pgdata / "postmaster.pid").touch()
    marker(paths.pgdata).touch()
    with pytest.raises(Trouble):
        apply.check_data(paths, "17", Log("test"))
    assert list(content(paths.pgdata)) == ["postmaster.pid"]


def test_mark_without_data(paths: Layout) -> None:
    """A mark beside an empty directory does no harm."""
    marker(paths.pgdata).touch()
    apply.check_data(paths, "17", Log("test"))
    assert paths.pgdata.exists()
