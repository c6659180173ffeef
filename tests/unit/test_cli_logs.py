"""`spilo logs` over the two files of the ring, written here as PID 1 writes them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from runtime.cli import logs
from runtime.trouble import Exit, Trouble


def ours(program: str, text: str) -> str:
    return f"2026-01-02T03:04:05.678Z INFO {program}[12] {text}"


POSTGRES = "2026-01-02 03:04:05.678 UTC [49] LOG:  database system is ready"


@pytest.mark.parametrize(("line", "program"), [
    (ours("patroni", "no action"), "patroni"),
    (ours("archive.push", "archived"), "archive.push"),
    (POSTGRES, "postgres"),
    ('{"level":"warn","ts":"2026-01-02T03:04:05Z","msg":"slow"}', "etcd"),
    ("[NOTICE]   (12) : New worker", "haproxy"),
    ("2026-01-02 03:04:05,678 WARN exited: steward", "supervisord"),
    ("    continued", "above"),
])
def test_a_line_tells_its_program(line: str, program: str) -> None:
    """Each program's way to begin a line is known; other lines continue the one above."""
    assert logs.program(line, "above") == program


def test_only_one_programs_lines_with_what_continues_them() -> None:
    """A filter keeps continuation lines, takes parts of a tool, and not other names that begin alike."""
    lines = [ours("patroni", "a"), "Traceback", ours("archive.push", "b"), POSTGRES, "\tcontinued",
             ours("archived", "c")]
    assert list(logs.only(lines, "patroni")) == lines[:2]
    assert list(logs.only(lines, "archive")) == [lines[2]]
    assert list(logs.only(lines, "postgres")) == lines[3:5]
    assert list(logs.only(lines, None)) == lines


def test_the_past_is_previous_and_current(tmp_path: Path) -> None:
    """Both files are one text: a line split over them is one line."""
    (tmp_path / "previous").write_bytes(b"1\n2 split")
    (tmp_path / "current").write_bytes(b" here\n3\n")
    assert list(logs.Ring(tmp_path).past()) == ["1", "2 split here", "3"]


def test_a_line_still_being_written_is_kept_until_it_ends(tmp_path: Path) -> None:
    """Half a line is not shown before its end is there."""
    current = tmp_path / "current"
    current.write_bytes(b"1\nhal")
    ring = logs.Ring(tmp_path)
    assert list(ring.past()) == ["1"]
    assert list(ring.new()) == []
    with current.open("ab") as file:
        file.write(b"f\n3\n")
    assert list(ring.new()) == ["half", "3"]


def test_following_goes_on_when_the_files_change(tmp_path: Path) -> None:
    """No line is lost or repeated when current becomes previous, not even one split over both."""
    current, previous = tmp_path / "current", tmp_path / "previous"
    previous.write_bytes(b"0\n")
    current.write_bytes(b"1\n")
    ring = logs.Ring(tmp_path)
    assert list(ring.past()) == ["0", "1"]
    with current.open("ab") as file:
        file.write(b"2\nacross ")
    current.replace(previous)
    assert list(ring.new()) == ["2"]  # between the two steps of the change there is no `current`
    current.write_bytes(b"files\n3\n")
    assert list(ring.new()) == ["across files", "3"]
    with current.open("ab") as file:
        file.write(b"4\n")
    assert list(ring.new()) == ["4"]


def test_a_change_of_files_while_the_past_is_read_repeats_nothing(tmp_path: Path) -> None:
    """A change between opening current and reading previous does not show lines twice."""
    current, previous = tmp_path / "current", tmp_path / "previous"
    current.write_bytes(b"1\n2\n")
    ring = logs.Ring(tmp_path)
    current.replace(previous)
    current.write_bytes(b"3\n")
    assert list(ring.past()) == ["1", "2"]
    assert list(ring.new()) == ["3"]


def test_following_remembers_whose_line_is_continued(tmp_path: Path) -> None:
    """The filter holds across looks at the file."""
    current = tmp_path / "current"
    current.write_bytes(b"")
    ring = logs.Ring(tmp_path)
    endless = logs.only(logs.forever(ring), "postgres")
    current.write_bytes(f"{POSTGRES}\n\tdetail\n{ours('patroni', 'x')}\n{POSTGRES}\n".encode())
    assert list(islice(endless, 3)) == [POSTGRES, "\tdetail", POSTGRES]


def test_bytes_that_are_no_text_do_not_stop_it(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are shown as replacements."""
    (tmp_path / "current").write_bytes(b"\xff\xfe ok\n")
    assert [line[-2:] for line in logs.Ring(tmp_path).past()] == ["ok"]


def test_no_log_yet_is_said(tmp_path: Path) -> None:
    """Before the first boot there is a Trouble to try again, not a traceback."""
    with pytest.raises(Trouble) as raised:
        logs.Ring(tmp_path)
    assert raised.value.code == Exit.RETRY
