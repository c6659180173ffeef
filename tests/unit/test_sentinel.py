"""When the sentinel ends the container, and with which reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.sentinel import verdict

REFUSED = '{"code": 5, "lines": ["not ours", "  fix:  an empty volume"]}'
RETRY = '{"code": 4, "lines": ["no etcd"]}'
AGAIN = "governor ended again and again right after its start; its own lines above say why"


@pytest.mark.parametrize(("event", "words", "lines"), [
    ("PROCESS_STATE_EXITED", None, None),
    ("PROCESS_STATE_BACKOFF", None, None),
    ("PROCESS_STATE_FATAL", None, [AGAIN]),
    ("PROCESS_STATE_EXITED", REFUSED, ["governor refused to go on", "not ours", "  fix:  an empty volume"]),
    ("PROCESS_STATE_BACKOFF", REFUSED, ["governor refused to go on", "not ours", "  fix:  an empty volume"]),
    ("PROCESS_STATE_EXITED", '{"code": 3, "lines": []}', ["governor refused to go on"]),
    ("PROCESS_STATE_EXITED", RETRY, None),
    ("PROCESS_STATE_BACKOFF", RETRY, None),
    ("PROCESS_STATE_FATAL", RETRY, [AGAIN, "no etcd"]),
    ("PROCESS_STATE_EXITED", "", None),
    ("PROCESS_STATE_EXITED", "{", None),
    ("PROCESS_STATE_FATAL", "{", [AGAIN]),
])
def test_verdict(event: str, words: str | None, lines: list[str] | None, tmp_path: Path) -> None:
    """The container ends when a program fails for good, or said that another start cannot help; else it goes on."""
    if words is not None:
        (tmp_path / "governor").write_text(words)
    assert verdict(event, "governor", tmp_path) == lines


def test_words_of_another_program(tmp_path: Path) -> None:
    """What one program left behind says nothing about another."""
    (tmp_path / "governor").write_text(REFUSED)
    assert verdict("PROCESS_STATE_EXITED", "steward", tmp_path) is None
