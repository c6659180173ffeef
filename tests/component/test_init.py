"""PID 1 and supervisord under it: orderly stops, programs that die, and an exit code that tells the truth."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.component.support import Node, alive, eventually, running

SUPERVISOR = "supervisor.supervisord"


@pytest.fixture
def node(place: Path) -> Node:
    return Node("member", place)


def healthy(node: Node) -> None:
    """The member is primary and takes writes again."""
    node.until("primary")
    eventually(lambda: attempt(lambda: node.sql("CREATE TABLE IF NOT EXISTS written ()") == []), 20, "it takes writes")


def attempt(act: Callable[[], bool]) -> bool:
    """Whether it worked."""
    try:
        return act()
    except Exception:
        return False


def reached(node: Node, moment: str) -> bool:
    """Whether the boot has logged this, or has become, or started, this program."""
    return moment in node.text() or moment in psutil.Process(node.pid).cmdline() or node.program(moment) is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_in_order(node: Node, number: signal.Signals) -> None:
    """`docker stop`, or Ctrl-C: PostgreSQL shuts down, nothing is left running, the exit code is 0."""
    with running(node):
        node.start()
        node.until("primary")
        family = [one.pid for one in node.below()]
        client = node.connect()
        node.signal(number)
        assert node.wait(30) == 0
        client.close()
        assert node.control("Database cluster state") == "shut down"
        assert node.text().splitlines()[-1].endswith("stopped")
        assert not [pid for pid in family if alive(pid)]
        assert not (node.data / "postmaster.pid").exists()


def test_a_stop_during_the_boot_is_no_failure(node: Node) -> None:
    """Stopped before anything is up, the member ends with 0 all the same, and boots the next time."""
    with running(node):
        for moment in ("standing alone", "bootstrap.launch", SUPERVISOR):
            node.start()
            eventually(partial(reached, node, moment), 10, moment)
            node.signal(signal.SIGTERM)
            node.signal(signal.SIGTERM)
            assert node.wait(40) == 0
            assert node.text().splitlines()[-1].endswith("stopped")
            node.log.unlink()
        node.start()
        node.until("primary")
        assert node.stop() == 0


def test_programs_that_are_killed_come_back(node: Node) -> None:
    """SIGKILL for each supervised program, and for PostgreSQL: the member is healthy again, and no zombie is left."""
    with running(node):
        node.start()
        healthy(node)
        for word in ("etcd", "runtime.patroni", "runtime.steward", "runtime.sentinel", "postgres"):
            victim = eventually(partial(node.program, word), 20, f"{word} runs")
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
            eventually(partial(node.program, word), 20, f"{word} is there again")
            healthy(node)
        assert node.running
        eventually(
            lambda: not [one for one in node.below() if one.status() == psutil.STATUS_ZOMBIE], 10, "no zombie is left"
        )
        assert node.stop() == 0


def test_orphans_are_reaped(alone: Node) -> None:
    """What PostgreSQL starts and leaves behind is collected when it ends."""
    ready, told = os.pipe()
    path = f"/proc/{os.getpid()}/fd/{told}"
    alone.sql(f"COPY (SELECT) TO PROGRAM '(exec sh -c ''echo $$ >{path}; exec sleep 0.3'') >/dev/null 2>&1 &'")
    with os.fdopen(ready) as pipe:
        pid = int(pipe.readline())
    os.close(told)
    eventually(lambda: not psutil.pid_exists(pid), 10, "the orphan is gone, without a zombie")


def test_the_loss_of_supervisord_ends_the_member_with_its_reason(node: Node) -> None:
    """Without supervisord nobody watches: PostgreSQL is shut down cleanly and the exit code is 7."""
    with running(node):
        node.start()
        healthy(node)
        family = node.below()
        supervisor = node.program(SUPERVISOR)
        assert supervisor is not None
        supervisor.send_signal(signal.SIGKILL)
        try:
            assert node.wait(30) == 7
        finally:
            for one in family:  # in a container they end with PID 1
                if one.is_running():
                    one.kill()
        assert node.control("Database cluster state") == "shut down"
        assert "supervisord ended by itself" in node.text().splitlines()[-1]


def test_a_program_that_cannot_start_ends_the_member_with_its_reason(node: Node) -> None:
    """etcd finds its port taken, again and again: exit code 7, and the last line names the program."""
    with running(node), socket.socket() as taken:
        taken.bind(("127.0.0.1", node.etcd_port))
        taken.listen()
        node.start()
        assert node.wait(60) == 7
        assert "etcd ended again and again right after its start" in node.text().splitlines()[-1]
        assert "address already in use" in node.text()


def test_the_log_is_kept_for_our_eyes_and_in_bounds(node: Node) -> None:
    """The last lines stay in two files, 0600, of 4 MB together, whatever PostgreSQL logs."""
    with running(node):
        node.start()
        node.until("primary")
        log = node.run / "log"
        node.sql("DO $$ BEGIN FOR i IN 1..7000 LOOP RAISE LOG '%', repeat('x', 1000); END LOOP; END $$")
        node.sql("DO $$ BEGIN RAISE LOG 'the last line'; END $$")
        eventually(lambda: "the last line" in (log / "current").read_text(), 10, "everything is logged")
        assert log.stat().st_mode & 0o777 == 0o700
        assert {path.name: path.stat().st_mode & 0o777 for path in log.iterdir()} == {
            "current": 0o600,
            "previous": 0o600,
        }
        assert 2 << 20 <= sum(path.stat().st_size for path in log.iterdir()) <= (4 << 20) + (1 << 17)
        assert node.stop() == 0


def test_a_wrong_configuration_touches_nothing(node: Node) -> None:
    """Every problem is told, the exit code is 3, and not even a folder is made."""
    node.start(PGPORT="seventy", ALLOW_NOSSL="perhaps", SCOPE="Two Words", PGPASWORD_ADMIN="x")
    assert node.wait(20) == 3
    assert not node.root.exists()
    for name in ("PGPORT", "ALLOW_NOSSL", "SCOPE", "PGPASWORD_ADMIN"):
        assert name in node.text()
