"""Expected failures, bugs, and the exit codes that they become."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from runtime.log import Log
from runtime.trouble import Exit, Trouble, run


def raising(error: BaseException) -> Callable[[], NoReturn]:
    """A tool that ends with this exception."""

    def main() -> NoReturn:
        raise error

    return main


@pytest.mark.parametrize(("main", "code"), [
    (lambda: None, 0), (lambda: 0, 0), (lambda: Exit.RETRY, 4), (lambda: 3, 3),
    *((raising(Trouble(code, "no")), int(code)) for code in Exit if code),
    (raising(ValueError("x")), 6), (raising(KeyError("x")), 6), (raising(KeyboardInterrupt()), 130),
])
def test_code(main: Callable[[], int | None], code: int) -> None:
    """A tool ends with the code that it returns or that its trouble has; an exception that nobody expected is a bug."""
    assert run(main, Log("test")) == code


def test_system_exit() -> None:
    """argparse's own exit (a wrong command line) is left alone."""
    with pytest.raises(SystemExit):
        run(raising(SystemExit(2)), Log("test"))


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A trouble is logged with what was seen and what to do, a line each, and without a traceback."""
    run(raising(Trouble(Exit.REFUSED, "it is so", "one\ntwo", "do this\nor that")), Log("test"))
    lines = [line.split("] ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["it is so", "  seen: one", "  seen: two", "  fix:  do this", "  fix:  or that"]


def test_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """A bug is logged, and its traceback goes to stderr, where it cannot be taken for a result."""
    run(raising(ZeroDivisionError("by what")), Log("test"))
    said = capsys.readouterr()
    assert "unexpected exception, please report it code=6" in said.out
    assert "ZeroDivisionError: by what" in said.err


def test_last_words(tmp_path: Path) -> None:
    """A trouble leaves its code and lines behind where it is told to; success and bugs leave nothing."""
    path = tmp_path / "new" / "governor"
    run(lambda: None, Log("test"), path)
    run(raising(ValueError()), Log("test"), path)
    assert not path.exists()
    run(raising(Trouble(Exit.REFUSED, "no", hint="yes")), Log("test"), path)
    assert json.loads(path.read_text()) == {"code": 5, "lines": ["no", "  fix:  yes"]}


def test_codes() -> None:
    """The codes are a promise to those who read them, and each says what it means."""
    assert {code.name: int(code) for code in Exit} == {
        "OK": 0, "ABSENT": 1, "USAGE": 2, "SETTINGS": 3, "RETRY": 4, "REFUSED": 5, "BUG": 6, "PROGRAM": 7,
        "UNPROVEN": 8, "UNSURE": 254,
    }
    assert all(code.meaning.endswith(".") for code in Exit)
