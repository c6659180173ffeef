"""The parts of the archiver that need no server: command lines, the watchdog, the socket, what is logged how often."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import archive, lzop
from runtime.archive.ask import ask
from runtime.archive.guard import in_production, runs
from runtime.archive.health import Rarely, Waiting, Works, waiting
from runtime.archive.server import Alive, Gone, Server
from runtime.archive.upload import Room, differ
from runtime.archive.watchdog import watch
from runtime.log import Log

LOG = Log("test")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: that of a unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="a") as name:
        yield Path(name)


def test_commands() -> None:
    """PostgreSQL replaces %p and %f and nothing else, whatever the socket is called."""
    socket = "/run/it's 100%p/archive.sock"
    push, fetch = archive.push_command(socket), archive.fetch_command(socket, "standby")
    assert shlex.split(push.replace("%%", "%")) == ["exec", "sh", archive.CLIENT, "push", socket, "%p"]
    assert shlex.split(fetch.replace("%%", "%")) == ["exec", "sh", archive.CLIENT, "fetch", socket, "standby", "%f", "%p"]
    assert push.count("%") == 3 and Path(archive.CLIENT).exists()
    with pytest.raises(ValueError, match="other"):
        archive.fetch_command(socket, "other")


def test_watchdog(capfd: pytest.CaptureFixture[str]) -> None:
    """The watchdog returns what the child does, and ends one that gives no sign of life."""

    def lively(alive: Alive) -> int:
        for _ in range(10):
            alive()
            threading.Event().wait(0.05)
        return 5

    def silent(alive: Alive) -> int:
        threading.Event().wait(60)
        return 0

    def ended(alive: Alive) -> int:
        os.kill(os.getpid(), 15)
        return 0

    assert watch(lively, LOG, silence=0.3) == 5
    assert watch(silent, LOG, silence=0.2) == 128 + 9
    assert "hangs" in capfd.readouterr().out
    assert watch(ended, LOG) == 128 + 15


def client(*words: str) -> tuple[int, str]:
    done = subprocess.run(["sh", archive.CLIENT, *words], check=False, capture_output=True, text=True, timeout=30, cwd="/")
    return done.returncode, done.stderr


def test_socket(short: Path) -> None:
    """What is asked arrives word for word, with absolute paths, and the answer comes back as the exit code, after any
    signs of life; nobody but us may ask."""
    heard: list[list[str]] = []

    def handle(words: list[str], alive: Alive) -> tuple[int, str]:
        heard.append(words)
        alive()
        alive()
        return {"absent": 1, "refused": 5, "unsure": 254}.get(words[-1].rpartition("/")[2], 0), "the\nreason"

    path = short / "s"
    Server(path, handle, LOG).start()
    assert path.stat().st_mode & 0o777 == 0o600
    assert ask(path, "some", "words with\nlines", "") == (0, "the reason")
    assert client("push", str(path), "pg wal/it's\n$x") == (0, "")
    assert client("push", str(path), "/refused") == (5, "the reason\n")
    assert client("fetch", str(path), "standby", "name", "absent") == (1, "")
    assert client("fetch", str(path), "target", "name", "/a/unsure") == (254, "the reason\n")
    assert heard == [["some", "words with\nlines", ""], ["push", "/pg wal/it's\n$x"], ["push", "/refused"],
                     ["fetch", "standby", "name", "/absent"], ["fetch", "target", "name", "/a/unsure"]]


def test_nobody_answers(short: Path) -> None:
    """Where nobody listens, or the answer is no code, it is RETRY after a while, never "not in the archive"."""
    assert ask(short / "s", "ping")[0] == 4
    start = time.monotonic()
    assert client("fetch", str(short / "s"), "standby", "name", "/p")[0] == 4
    assert 2 <= time.monotonic() - start < 6
    Server(short / "t", lambda words, alive: (99, ""), LOG).start()
    assert client("fetch", str(short / "t"), "standby", "name", "/p")[0] == 4


def test_restarted(short: Path) -> None:
    """An archiver that starts meanwhile is found."""
    threading.Timer(0.7, lambda: Server(short / "s", lambda words, alive: (0, ""), LOG).start()).start()
    assert client("push", str(short / "s"), "/p")[0] == 0


def test_asker_is_gone(short: Path) -> None:
    """When who asked is gone, the work for it ends."""
    ended = threading.Event()

    def handle(words: list[str], alive: Alive) -> tuple[int, str]:
        try:
            while True:
                alive()
                ended.wait(0.01)
        except Gone:
            ended.set()
            raise

    Server(short / "s", handle, LOG).start()
    assert ask(short / "s", "x", patience=0.1)[0] == 4
    assert ended.wait(5)


def test_room() -> None:
    """Who goes ahead waits until there is room; what PostgreSQL waits for does not."""
    room, order = Room(10), []
    with room.take(8, wait=True) as hold, room.take(8, wait=False):

        def ahead() -> None:
            with room.take(8, wait=True):
                order.append("ahead")

        thread = threading.Thread(target=ahead)
        thread.start()
        thread.join(0.2)
        order.append("first")
        hold(0)
    thread.join(5)
    assert order == ["first", "ahead"]


def test_differ() -> None:
    """A file is compared with a container to its end, whichever is longer."""
    content = b"x" * 300_000

    def found(ours: bytes) -> str | None:
        return differ(io.BytesIO(ours), io.BytesIO(b"".join(lzop.pack(content))))

    assert found(content) is None
    assert found(content + b"y") == "the one here is longer"
    assert found(content[:-1]) == "they differ from byte 299999 on"
    assert found(content[:-2] + b"yx") == "they differ from byte 299998 on"
    assert found(b"") == "they differ from byte 0 on"


def test_works(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure is said once a minute, each time with what waits, and so is its end; the same is not said twice."""
    doubts: list[object] = []
    works = Works("archiving", LOG, lambda: Waiting(3, 4, 5.0), doubts.append)
    works.good()
    assert capsys.readouterr().out == ""
    for _ in range(3):
        works.bad("the reason")
    assert works.since and works.error == "the reason" and len(doubts) == 3
    works.good()
    lines = capsys.readouterr().out.splitlines()
    assert ["fails" in lines[0], "works again" in lines[1], len(lines)] == [True, True, 2]
    assert all("waiting=3 waiting_bytes=4 oldest=5.0" in line for line in lines)
    rarely = Rarely(0.05)
    assert [rarely("a"), rarely("a"), rarely("b")] == [True, False, True]


def test_waiting(tmp_path: Path) -> None:
    """What waits is what PostgreSQL marked as ready."""
    assert waiting(tmp_path) == Waiting(0, 0, None)
    status = tmp_path / "pg_wal" / "archive_status"
    status.mkdir(parents=True)
    for name in ("one", "two", "done"):
        (status.parent / name).write_bytes(b"12345")
        (status / f"{name}.{'done' if name == 'done' else 'ready'}").touch()
    os.utime(status / "one.ready", (time.time() - 100, time.time() - 100))
    found = waiting(tmp_path)
    assert (found.waiting, found.waiting_bytes) == (2, 10) and 99 < (found.oldest or 0) < 110


def test_no_server(tmp_path: Path) -> None:
    """A data directory without a server is not in production, also when its old process number is somebody else's now."""
    assert not runs(tmp_path) and not in_production(tmp_path)
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert not runs(tmp_path)
