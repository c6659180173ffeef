"""Lines of the log."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.log import Log, quoted, timestamp

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) test\[\d+\] a constant sentence( .*)?")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
ANY = TEXTS | st.integers() | st.none() | st.lists(st.text(max_size=3)) | st.text(
    st.sampled_from("\n\r\0\t\x1b\u2028\u2029\x85\x0b\x0c\"\\ ='€😀"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}",
                                     fullmatch=True).filter(lambda key: key not in ("self", "sentence")), ANY,
                                     max_size=4))
def test_one_line(capsys: pytest.CaptureFixture[str], fields: dict[str, object]) -> None:
    """Whatever the values, an event is one line, and every value can be told from the next."""
    capsys.readouterr()
    Log("test").info("a constant sentence", **fields)
    text = capsys.readouterr().out
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    assert LINE.fullmatch(text[:-1])
    assert [word.partition("=")[0] for word in shlex.split(text[:-1])[6:]] == list(fields)


@pytest.mark.parametrize(("value", "text"), [
    ("plain", "plain"), (812, "812"), ("/run/x.crt", "/run/x.crt"), ("ä€", "ä€"), ("", '""'), ("a b", '"a b"'),
    ("a=b", '"a=b"'),
    ('say "x"', '"say \\"x\\""'), ("a\nb", '"a\\nb"'), ("a\\b", '"a\\\\b"'), ("\x1b[31m", '"\\x1b[31m"'),
    ("a\u2028b", '"a\\u2028b"'),
])
def test_quoted(value: object, text: str) -> None:
    """A simple value stays bare, any other is put in quotes, with its control characters spelled out."""
    assert quoted(value) == text


def test_timestamp() -> None:
    """The time is UTC with milliseconds."""
    assert timestamp(1767323045.678) == "2026-01-02T03:04:05.678Z"
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    """The level is told by the call."""
    log = Log("test")
    log.info("a")
    log.warning("b")
    log.error("c")
    assert re.findall(r"Z (\w+) test\[\d+\] (\w)\n", capsys.readouterr().out) == [("INFO", "a"), ("WARNING", "b"),
                                                                                  ("ERROR", "c")]
