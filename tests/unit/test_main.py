"""spilo-boot as far as it goes without touching anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap.__main__ import main
from bootstrap.settings import TABLE
from tests.unit.samples import CLUSTER


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any setting."""
    for row in TABLE:
        for name in row.names:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(f"{name}_FILE", raising=False)
    return monkeypatch


def test_check(environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` says that the settings are all right."""
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == "the settings are all right\n"


@pytest.mark.parametrize("option", ["--check", "--print"])
def test_problems(option: str, environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every problem is told, numbered, before anything is done, and the exit code is SETTINGS."""
    environ.setenv("PGPORT", "x")
    environ.setenv("DURABILTY", "strict")
    assert main([option]) == 3
    text = capsys.readouterr().out
    assert "the configuration has 2 problems, nothing was touched" in text
    assert "1. PGPORT is 'x'; expected a port, 1 to 65535. Fix: change PGPORT, or remove it (default: 5432)" in text
    assert "2. DURABILTY is given; expected the name of a setting. Fix: did you mean DURABILITY?" in text


def test_print(environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--print` shows the plan without secrets, and touches nothing."""
    for name, value in CLUSTER.items():
        environ.setenv(name, value)
    assert main(["--print", "--root", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert f"--- {tmp_path}/run/spilo/patroni.yml (0600)" in text
    assert CLUSTER["CLUSTER_SECRET"] not in text
    assert list(tmp_path.iterdir()) == []


def test_wrong_option() -> None:
    """An unknown option is a wrong command line (2)."""
    with pytest.raises(SystemExit) as caught:
        main(["--chek"])
    assert caught.value.code == 2
