"""The generated documentation is complete, and what is committed is what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootstrap import parameters, reference
from bootstrap.foreign import ELSEWHERE
from bootstrap.settings import TABLE
from runtime.trouble import Exit
from tests.unit.samples import MACHINE


def test_committed() -> None:
    """docs/ is up to date; if not, run `python -m bootstrap.reference`."""
    assert reference.compare(Path(reference.__file__).parents[1] / "docs") == ""


def test_settings_are_complete() -> None:
    """Every setting, alias, file name and foreign name has its place."""
    page = reference.settings()
    for row in TABLE:
        if row.name in reference.REPEATED:
            continue
        assert page.count(f"\n| `{row.name}`") == 1
        for name in row.names:
            assert f"`{name}`" in page
            assert (f"`{name}_FILE`" in page) == (row.secret or row.from_file)
    for name in (*ELSEWHERE, *parameters.DEFAULT, *parameters.SHARED_DEFAULT, *parameters.MANDATORY,
                 *parameters.BLOCKED):
        assert f"`{name}`" in page


def test_formulas_are_complete() -> None:
    """Every parameter that follows from the machine has its rule."""
    assert set(reference.FORMULAS) == set(parameters.sized(MACHINE))


def test_exit_codes_are_complete() -> None:
    """Every exit code is listed, and those of the container twice."""
    page = reference.exit_codes()
    for code in Exit:
        assert page.count(f"| {int(code)} | `{code.name}` |") == 1 + (code in reference.CONTAINER)
    assert [int(code) for code in reference.CONTAINER] == [0, 3, 5, 6, 7]


def test_tables_are_whole() -> None:
    """Every row of a table has as many cells as its head."""
    for text in reference.pages().values():
        assert text.startswith(reference.GENERATED)
        rows: list[str] = []
        for line in [*text.splitlines(), ""]:
            if line.startswith("|"):
                rows.append(line)
            else:
                assert len({row.replace("\\|", "").count("|") for row in rows}) <= 1, rows
                rows = []


def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` writes nothing and fails with a diff when a file differs or is missing; without it they are written."""
    arguments = ["--docs", str(tmp_path)]
    assert reference.main([*arguments, "--check"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert reference.main(arguments) == 0
    assert reference.main([*arguments, "--check"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"settings.md", "exit-codes.md"}
    (tmp_path / "settings.md").write_text(reference.settings().replace("# Settings", "# Something"))
    capsys.readouterr()
    assert reference.main([*arguments, "--check"]) == 1
    assert "\n-# Something\n+# Settings\n" in capsys.readouterr().out
