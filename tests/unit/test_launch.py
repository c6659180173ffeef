"""PID 1: the environment that it hands down, and the log that it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import launch
from bootstrap.launch import Init, Ring
from bootstrap.settings import TABLE
from runtime.trouble import Exit


def test_environment() -> None:
    """Only names of the allow-list are handed down, and nothing that a setting or a secret could be in."""
    given_names = {name: "hunter2" for row in TABLE for name in row.names}
    found = launch.environment({**given_names, "PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x", "LD_PRELOAD": "x",
                                "PYTHONPATH": "x"}, "/h")
    assert found["HOME"] == "/h"
    assert "hunter2" not in found.values()
    assert "x" not in found.values()
    assert set(found) <= {*launch.KEEP, "PYTHONUNBUFFERED"}


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_environment_of_anybody(environ: dict[str, str]) -> None:
    """Whatever is in the environment, no other name comes through, and the locale is one."""
    found = launch.environment(environ, "/h")
    assert set(found) <= {*launch.KEEP, "PYTHONUNBUFFERED"}
    assert found["LANG"]


def test_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is kept in two files for their owner only, with the last lines and never more than agreed."""
    monkeypatch.setattr(launch, "RING", 200)
    ring = Ring(tmp_path / "log")
    lines = [f"line {number:03}\n".encode() for number in range(100)]
    for line in lines:
        ring.write(line)
        kept = [path.read_bytes() if path.exists() else b"" for path in (ring.previous, ring.current)]
        assert len(b"".join(kept)) <= 200 + len(line)
    text = b"".join(kept)
    assert b"".join(lines).endswith(text)
    assert len(text) >= 100
    for path in (ring.current, ring.previous):
        assert path.stat().st_mode & 0o777 == 0o600


def test_ring_goes_on(tmp_path: Path) -> None:
    """A later boot appends to what is there."""
    Ring(tmp_path / "log").write(b"first\n")
    ring = Ring(tmp_path / "log")
    ring.write(b"second\n")
    assert ring.current.read_bytes() == b"first\nsecond\n"


def test_ring_that_cannot_write(tmp_path: Path) -> None:
    """A log that cannot be written to stops nobody."""
    ring = Ring(tmp_path / "log")
    ring.file.close()
    with open("/dev/full", "ab", buffering=0) as ring.file:
        ring.write(b"x")


@pytest.mark.parametrize(("asked", "status", "reason", "code"), [
    (15, 0, None, Exit.OK),
    (2, 0, None, Exit.OK),
    (0, 0, None, Exit.PROGRAM),
    (15, 1, None, Exit.PROGRAM),
    (0, -9, None, Exit.PROGRAM),
    (15, 0, "governor refused to go on\n  fix:  so", Exit.PROGRAM),
    (0, 0, "governor refused to go on", Exit.PROGRAM),
])
def test_verdict(asked: int, status: int, reason: str | None, code: Exit, tmp_path: Path) -> None:
    """The container ends with 0 only when it was asked to stop, stopped in order, and no program gave up."""
    (tmp_path / "last-words").mkdir()
    if reason:
        (tmp_path / "last-words" / "reason").write_text(reason)
    init = Init(tmp_path, tmp_path / "data")
    init.asked, init.status = asked, status
    assert init.verdict() == code
