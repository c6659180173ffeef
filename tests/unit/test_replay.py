"""Recovery to a target: what the private PostgreSQL is told, what its log says, and what stays of foreign settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.basebackup.foreign import disarm, tame
from runtime.basebackup.replay import SETTINGS, Reached, Said, Wanted, _check_end, _failure, configuration, sizes
from runtime.basebackup.target import Target
from runtime.trouble import Exit, Trouble
from runtime.wal import Segment

RANGE = "reachable from base_1 are 0/3000100 (2026-01-01) to 0/6000000 (archived 2026-01-02), on timeline 1"
LOG = """LOG:  starting point-in-time recovery to 2026-01-31 13:45:00+00
LOG:  restored log file "000000010000000000000003" from archive
LOG:  restored log file "000000010000000000000004" from archive
LOG:  last completed transaction was at log time 2026-01-31 12:00:00.5+00
"""


def said(tmp_path: Path, text: str) -> Said:
    path = tmp_path / "log"
    path.write_text(text)
    made = Said(path)
    made.read()
    return made


def test_log(tmp_path: Path) -> None:
    """Segments, the last commit and the last serious word are found in the server's log, also when it grows."""
    found = said(tmp_path, LOG)
    assert (found.segment, found.commit) == ("000000010000000000000004", "2026-01-31 12:00:00.5+00")
    with found.path.open("a") as file:
        file.write('FATAL:  oops\nLOG:  startup process (PID 7) exited with exit code 1\n')
    found.read()
    assert found.fatal == "oops" and found.text.count("starting point-in-time") == 1
    assert said(tmp_path, "").fatal == "it said nothing"


@pytest.mark.parametrize(("line", "code", "words"), [
    ("FATAL:  recovery ended before configured recovery target was reached", Exit.REFUSED,
     ["lsn 0/9000000 cannot be reached", RANGE, "000000010000000000000004", "2026-01-31 12:00:00.5+00"]),
    ('the archive has not answered\nFATAL:  could not restore file "000000010000000000000005" from archive: child process exited with '
     "exit code 254", Exit.RETRY, ["the archive did not give", "000000010000000000000005", "the archive has not answered"]),
    ("FATAL:  could not access file", Exit.REFUSED, ["recovery cannot go on", "could not access file"]),
])
def test_failure(tmp_path: Path, line: str, code: Exit, words: list[str]) -> None:
    """A target out of reach is told with the range, an archive that is silent is tried again, the rest is told as it is."""
    trouble = _failure(said(tmp_path, f"{LOG}{line}\n"), Wanted(Target("lsn", "0/9000000"), "false", RANGE))
    assert trouble.code == code
    for word in words:
        assert word in "\n".join(trouble.lines())


@pytest.mark.parametrize(("target", "segment", "last", "good"), [
    (Target(), "000000010000000000000004", Segment(1, 4), True),
    (Target(), "000000020000000000000004", Segment(1, 4), True),
    (Target(), "000000010000000000000004", Segment(1, 5), False),
    (Target(), None, Segment(1, 3), False),
    (Target(), "000000010000000000000004", None, True),
    (Target("lsn", "0/4000000"), "000000010000000000000004", Segment(1, 5), True),
])
def test_end(target: Target, segment: str | None, last: Segment | None, good: bool) -> None:
    """The end of the archive is its last segment: recovery that ended before it is refused, with the place."""
    reached, wanted = Reached(0x4000100, 2, None, segment), Wanted(target, "false", RANGE, last)
    if good:
        _check_end(reached, wanted)
        return
    with pytest.raises(Trouble) as caught:
        _check_end(reached, wanted)
    assert caught.value.code == Exit.REFUSED and "0/4000100" in caught.value.detail and RANGE in caught.value.detail


def test_sizes() -> None:
    """What was needed to write the log is given to who replays it."""
    control = {"max_connections setting": "777", "max_prepared_xacts setting": "5", "max_locks_per_xact setting": "64",
               "track_commit_timestamp setting": "on", "Database block size": "8192"}
    assert sizes(control) == {"max_connections": "777", "max_prepared_transactions": "5", "max_locks_per_transaction": "64",
                              "track_commit_timestamp": "on"}


def test_configuration() -> None:
    """Values are quoted; nobody is let in, nothing is archived, nothing of the cluster's own runs."""
    assert configuration({"a": "it's\\"}) == "a = 'it''s\\\\'\n"
    assert (SETTINGS["listen_addresses"], SETTINGS["archive_command"], SETTINGS["shared_preload_libraries"]) == ("", "", "")
    assert SETTINGS["archive_mode"] == "on" and SETTINGS["recovery_target_action"] == "promote"


CONF = """# a comment
archive_command = 'rm -rf /'
datestyle = 'iso, dmy'
  lc_messages='C.UTF-8'  # as initdb wrote it
lc_time = 'xx_XX.none'
default_text_search_config = 'pg_catalog.german'
include_dir = '/etc/conf.d'
shared_preload_libraries = 'evil'
ssl_key_file = '/elsewhere'
timezone = 'x' evil = 'y'
"""


def test_tame() -> None:
    """Of foreign settings only stays how values are read and shown, where this machine knows it."""
    assert tame(CONF) == ("datestyle = 'iso, dmy'\nlc_messages = 'C.UTF-8'\ndefault_text_search_config = 'pg_catalog.german'\n"
                          "timezone = 'x'\n")


@pytest.mark.parametrize("another", [True, False])
def test_disarm(tmp_path: Path, another: bool) -> None:
    """Settings, rules and signals of another life are gone; ALTER SYSTEM stays where it is this cluster's own."""
    for name in ("postgresql.conf", "pg_hba.conf", "pg_hba.conf.backup", "standby.signal", "patroni.dynamic.json"):
        (tmp_path / name).write_text("archive_command = 'x'\n")
    (tmp_path / "postgresql.base.conf").write_text(CONF)
    (tmp_path / "postgresql.auto.conf").write_text("work_mem = '7MB'\n")
    disarm(tmp_path, another)
    assert {path.name for path in tmp_path.iterdir()} == {"postgresql.conf", "postgresql.auto.conf"}
    assert (tmp_path / "postgresql.conf").read_text() == tame(CONF)
    assert (tmp_path / "postgresql.auto.conf").read_text() == ("" if another else "work_mem = '7MB'\n")
