"""Recovery of a restored data directory by a PostgreSQL of its own, up to a target, before anybody else may use it.

It has no network, lets nobody in, and reads none of the settings that came with the data. It ends stopped cleanly on a new
timeline, with everything ready for the archiver, or as a Trouble: PostgreSQL itself refuses to end before a target, and
where there is none, how far it came is compared with what the archive has.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.basebackup.foreign import AUTO
from runtime.basebackup.target import Target
from runtime.log import Log
from runtime.trouble import Exit, Trouble
from runtime.wal import Segment, parse_lsn, show_lsn

EVERY = 5.0  # seconds between two lines of progress
LOOK = 0.1
_PR_SET_PDEATHSIG = 1  # prctl(2)
SETTINGS = {
    "listen_addresses": "", "ssl": "off", "hot_standby": "off", "shared_preload_libraries": "", "logging_collector": "off",
    "log_destination": "stderr", "log_line_prefix": "", "lc_messages": "C", "log_timezone": "UTC", "timezone": "UTC",
    "log_min_messages": "log", "max_logical_replication_workers": "0", "autovacuum": "off", "event_triggers": "off",
    "synchronous_standby_names": "", "shared_buffers": "128MB", "huge_pages": "off", "max_wal_size": "2GB",
    "wal_level": "replica", "max_connections": "100",
    # What is to be archived waits for the archiver of the cluster that begins here.
    "archive_mode": "on", "archive_command": "", "archive_cleanup_command": "", "recovery_end_command": "",
    "recovery_target_action": "promote", "primary_conninfo": "", "primary_slot_name": "",
}
# What prepared transactions, locks and the like in the log need, by its name in pg_controldata.
_SIZES = {"max_connections": "max_connections", "max_worker_processes": "max_worker_processes", "max_wal_senders": "max_wal_senders",
          "max_prepared_xacts": "max_prepared_transactions", "max_locks_per_xact": "max_locks_per_transaction",
          "track_commit_timestamp": "track_commit_timestamp", "wal_log_hints": "wal_log_hints"}


@dataclass(frozen=True)
class Reached:
    """Where it ended: on the new `timeline`, which begins at `lsn`; `commit`: when the last transaction of it was committed,
    None: there was none to replay."""

    lsn: int
    timeline: int
    commit: str | None
    segment: str | None


@dataclass(frozen=True)
class Wanted:
    """`restore_command` is where WAL comes from; `range`: what can be reached, in words; `last`: the last segment that has to
    be replayed when there is no target (None: it is not known)."""

    target: Target
    restore_command: str
    range: str = ""
    last: Segment | None = None
    segment_size: int = 16 << 20


@dataclass
class Said:
    """What the server logs, read as it grows."""

    path: Path
    text: str = ""
    _at: int = field(default=0)

    def read(self) -> str:
        with open(self.path, encoding="utf-8", errors="replace") as file:
            file.seek(self._at)
            self.text += file.read()
            self._at = file.tell()
        return self.text

    def last(self, pattern: str) -> str | None:
        found = re.findall(pattern, self.text, re.MULTILINE)
        return str(found[-1]) if found else None

    @property
    def segment(self) -> str | None:
        """The last segment that was restored."""
        return self.last(r'restored log file "([0-9A-F]{24})"')

    @property
    def commit(self) -> str | None:
        return self.last(r"last completed transaction was at log time (.+)$")

    @property
    def fatal(self) -> str:
        return self.last(r"^(?:FATAL|PANIC): +(.+)$") or (self.text.strip().splitlines() or ["it said nothing"])[-1]


def controldata(data: Path) -> dict[str, str]:
    """What pg_controldata says; raises REFUSED where there is no data directory."""
    done = subprocess.run(["pg_controldata", str(data)], env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(Exit.REFUSED, "what was restored is no data directory", done.stderr.strip())
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in done.stdout.splitlines())}


def environment() -> dict[str, str]:
    """No secret, and messages that can be read."""
    return {"PATH": os.environ["PATH"], "LC_ALL": "C"}


def sizes(control: Mapping[str, str]) -> dict[str, str]:
    """The settings that follow from what pg_controldata says."""
    return {name: control[f"{key} setting"] for key, name in _SIZES.items() if f"{key} setting" in control}


def configuration(settings: Mapping[str, str]) -> str:
    """postgresql.conf of nothing but these."""
    return "".join("{} = '{}'\n".format(name, value.replace("\\", "\\\\").replace("'", "''")) for name, value in settings.items())


@contextlib.contextmanager
def place(data: Path, settings: Mapping[str, str]) -> Iterator[list[str]]:
    """The arguments of a server on `data` with these settings and no others; its files go again at the end."""
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        conf, hba, ident = (Path(folder, name) for name in ("conf", "hba", "ident"))
        hba.write_text("local all all reject\n", encoding="ascii")
        ident.touch()
        auto = data / AUTO
        conf.write_text(configuration({**SETTINGS, **sizes(controldata(data)), "unix_socket_directories": folder,
                                       "hba_file": str(hba), "ident_file": str(ident), **settings}), encoding="utf-8")
        kept = auto.read_bytes() if auto.exists() else b""
        # It would win over our file. What is in it is put back, whatever happens; a crash leaves an unfinished copy anyway.
        auto.write_bytes(b"")
        try:
            yield ["-D", str(data), "-c", f"config_file={conf}"]
        finally:
            auto.write_bytes(kept)


def replay(data: Path, wanted: Wanted, log: Log) -> Reached:
    """Recover `data` up to the target, promote it, and stop it. Raises Trouble: REFUSED for a target that cannot be reached
    and for WAL that ends too soon, RETRY where the archive did not answer."""
    settings = {**wanted.target.settings(), "restore_command": wanted.restore_command}
    (data / "recovery.signal").touch(0o600)
    with place(data, settings) as arguments:
        said = Said(Path(arguments[-1].partition("=")[2]).with_name("log"))
        process = _start(["postgres", *arguments], said.path)
        try:
            _wait(process, data, said, wanted, log)
            process.send_signal(signal.SIGINT)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
                process.wait()
        said.read()
    if code:
        raise Trouble(Exit.REFUSED, "the recovered PostgreSQL does not stop cleanly", said.fatal)
    reached = _reached(data, said)
    _check_end(reached, wanted)
    return reached


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    prctl = ctypes.CDLL(None).prctl  # not to be looked up between fork and exec
    with open(log, "ab") as output:
        return subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT))  # noqa: PLW1509 (no threads)


def _ready(data: Path) -> bool:
    """Whether the server accepts connections, which it does once it is no longer in recovery; from the last line of
    postmaster.pid."""
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[7].strip() == "ready"
    except (OSError, IndexError):
        return False


def _wait(process: subprocess.Popen[bytes], data: Path, said: Said, wanted: Wanted, log: Log) -> None:
    """Until recovery has ended, with progress; raises Trouble where the server gives up."""
    began = told = time.monotonic()
    while not _ready(data):
        if process.poll() is not None:
            said.read()
            raise _failure(said, wanted)
        now = time.monotonic()
        if now - told >= EVERY:
            told = now
            said.read()
            log.info("replaying", segment=said.segment or "none yet", seconds=round(now - began),
                     **({"last": wanted.last.name(wanted.segment_size)} if wanted.last else {}))
        time.sleep(LOOK)


def _failure(said: Said, wanted: Wanted) -> Trouble:
    """Why the server gave up."""
    fatal = said.fatal
    if "before configured recovery target was reached" in fatal:
        return unreachable(wanted, said)
    if "from archive" in fatal:
        hint = said.last(r"^(?!\w+: )(.+)$") or ""
        return Trouble(Exit.RETRY, "recovery stopped, because the archive did not give what it should", f"{fatal}\n{hint}".strip())
    return Trouble(Exit.REFUSED, "recovery cannot go on", fatal)


def unreachable(wanted: Wanted, said: Said) -> Trouble:
    last = said.commit or "none after the base backup"
    return Trouble(Exit.REFUSED, f"{wanted.target} cannot be reached: the archive ends before it",
                   f"{wanted.range}\nthe last segment replayed was {said.segment}, the last commit in it: {last}".strip(),
                   "name a target within that range, or none for the end of the archive")


def _reached(data: Path, said: Said) -> Reached:
    """Where the new timeline began."""
    timeline = int(controldata(data)["Latest checkpoint's TimeLineID"])
    lines = (data / "pg_wal" / f"{timeline:08X}.history").read_text(encoding="utf-8").split("\n")
    words = [line.split() for line in lines if re.match(r"\s*\d", line)][-1]
    return Reached(parse_lsn(words[1]), timeline, said.commit, said.segment)


def _check_end(reached: Reached, wanted: Wanted) -> None:
    """To the end of the archive means up to the last segment that was in it."""
    if wanted.target.kind or wanted.last is None:
        return
    size = wanted.segment_size
    came = Segment.parse(reached.segment, size).number if reached.segment else -1
    if came < wanted.last.number:
        raise Trouble(Exit.REFUSED, "recovery ended before the end of the archive",
                      f"it ended at {show_lsn(reached.lsn)} in {reached.segment}, the archive goes on to {wanted.last.name(size)}\n"
                      f"{wanted.range}", "`spilo backup list` shows what there is; a copy to a target before that place can be made")
