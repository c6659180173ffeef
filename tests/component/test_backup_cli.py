"""`spilo backup` on a member with a store: taken, listed, shown, expired, and restored beside the running member."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from runtime.backup.take import lock
from runtime.records import Records
from runtime.trouble import Exit
from tests.component.support import Node, eventually, folder, running
from tests.kit.s3 import REGION, Rclone

BUCKET = "backups"


@dataclass
class Member:
    """A member that stands alone, with a store."""

    node: Node
    server: Rclone

    def spilo(self, *words: str) -> tuple[int, str]:
        """The exit code and everything that `spilo backup` says."""
        done = subprocess.run(["spilo", "backup", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, "SPILO_STEWARD": str(self.node.run / "steward.json")}, check=False)
        return done.returncode, done.stdout

    def list(self) -> list[dict[str, Any]]:
        code, text = self.spilo("list", "--output", "json")
        assert code == 0, text
        return list(json.loads(text)["backups"])

    def archived(self) -> None:
        """Wait until everything written so far is archived."""
        self.node.sql("SELECT pg_logical_emit_message(false, 'test', 'something')")
        name = self.node.value("SELECT pg_walfile_name(pg_switch_wal())")
        eventually(lambda: str(self.node.value("SELECT last_archived_wal FROM pg_stat_archiver")) >= name, 30, f"{name} is archived")


@pytest.fixture(scope="module")
def member() -> Iterator[Member]:
    server = Rclone("backup-store", folder())
    with running(server):
        server.start()
        server.until_ready()
        server.bucket(BUCKET)
        node = Node("saved", folder(), {
            "WAL_S3_BUCKET": BUCKET, "AWS_ENDPOINT": server.url, "AWS_REGION": REGION, **server.key.variables(),
            "VERIFY_SCHEDULE": "never", "BACKUP_SCHEDULE": "never", "BACKUP_NUM_TO_RETAIN": "1", "BACKUP_DAYS_TO_RETAIN": "0"})
        with running(node):
            node.start()
            node.until("primary")
            yield Member(node, server)


def test_nothing_yet(member: Member) -> None:
    """Without a backup the list says so, expiry refuses, and there is nothing to restore."""
    code, text = member.spilo("list")
    assert (code, text) == (0, "no base backup yet\n")
    assert member.list() == []
    code, text = member.spilo("expire")
    assert code == Exit.REFUSED and "nothing is deleted" in text
    code, text = member.spilo("restore", "--to", str(folder() / "to"))
    assert code == Exit.REFUSED and "there is no backup to restore" in text


def test_now(member: Member) -> None:
    """A backup is taken on demand, is listed with everything, can be shown, and is recorded for the cluster."""
    code, text = member.spilo("now")
    assert code == 0, text
    assert "base backup complete" in text
    one, = member.list()
    assert one["usable"] and one["complete"] and one["tool"] == "spilo" and one["why_not"] is None
    assert one["size_bytes"] > one["stored_bytes"] > 1_000_000
    code, text = member.spilo("list")
    assert text.splitlines()[0].split()[:3] == ["NAME", "FINISHED", "TL"] and one["name"] in text
    code, text = member.spilo("show", one["name"], "--output", "json")
    shown = json.loads(text)["backup"]
    assert shown["reach"]["missing"] is None and shown["name"] == one["name"]
    assert "why not" in member.spilo("show")[1]
    record = Records(member.node.spec()).get("backup")
    assert record is not None and record["ok"] and record["last"]["name"] == one["name"] and record["error"] is None


def test_one_at_a_time(member: Member) -> None:
    """While somebody is at it, another backup is refused, with who that is; it is no failed try."""
    spec = member.node.spec()
    before = Records(spec).get("backup")
    with lock(Records(spec), spec, "a test"):
        code, text = member.spilo("now")
        assert code == Exit.RETRY and "another one is at it already" in text and "a test" in text
        assert member.spilo("expire", "--yes")[0] == Exit.RETRY
    assert Records(spec).get("backup") == before


def test_failure_is_recorded(member: Member) -> None:
    """A try that fails is recorded with its reason; the last success stays."""
    before = Records(member.node.spec()).get("backup")
    member.server.kill()
    try:
        code, text = member.spilo("now")
        assert code == Exit.RETRY and "the store does not take the backup" in text
        code, text = member.spilo("expire", "--yes")
        assert code == Exit.RETRY and "nothing is deleted" in text
    finally:
        member.server.start()
        member.server.until_ready()
    record = Records(member.node.spec()).get("backup")
    assert record is not None and before is not None
    assert not record["ok"] and "the store does not take" in record["error"] and record["last"] == before["last"]


def restored(member: Member, place: Path, *target: str) -> list[int]:
    """What is in the table `steps` of a copy that was restored to a target."""
    to = place / "copy"
    code, text = member.spilo("restore", "--to", str(to), *target)
    assert code == 0, text
    said = subprocess.run(["pg_ctl", "-D", str(to), "-w", "-l", str(place / "copy.log"), "start"], capture_output=True, text=True, check=False)
    try:
        assert said.returncode == 0, (place / "copy.log").read_text()
        with psycopg2.connect(host=str(to), port=member.node.port, user="postgres", dbname="postgres") as connection:
            cursor = connection.cursor()

            def stopped() -> bool:
                cursor.execute("SELECT pg_get_wal_replay_pause_state()")
                return bool(cursor.fetchone() == ("paused",))

            eventually(stopped, 30, "recovery has reached its target")
            cursor.execute("SELECT n FROM steps ORDER BY n")
            return [row[0] for row in cursor.fetchall()]
    finally:
        subprocess.run(["pg_ctl", "-D", str(to), "-w", "stop", "-m", "immediate"], capture_output=True, check=False)


def test_restore(member: Member, place: Path) -> None:
    """A person restores to a moment, a position, a name or a transaction; what cannot be reached is refused with what can,
    before anything is written; the running member goes on."""
    node = member.node
    node.sql("CREATE TABLE steps (n int)")
    node.sql("INSERT INTO steps VALUES (1)")
    lsn = node.value("SELECT pg_current_wal_insert_lsn()::text")
    node.sql("SELECT pg_create_restore_point('here')")
    moment = node.value("SELECT clock_timestamp()").astimezone(datetime.UTC)
    node.sql("INSERT INTO steps VALUES (2)")
    member.archived()
    for number, target in enumerate((("--target-time", moment.isoformat(" ")), ("--target-lsn", lsn), ("--target-name", "here"))):
        (place / str(number)).mkdir()
        assert restored(member, place / str(number), *target) == [1], target
    code, text = member.spilo("restore", "--to", str(place / "to"), "--target-lsn", "F/0")
    assert code == Exit.REFUSED and "lsn F/0 cannot be reached" in text and "reachable from base_" in text
    code, text = member.spilo("restore", "--to", str(place / "to"), "--target-time", "2020-01-01 00:00:00+00")
    assert code == Exit.REFUSED and "reachable from base_" in text
    assert member.spilo("restore", "--to", str(place / "to"), "--target-time", "2020-01-01 00:00")[0] == Exit.USAGE
    code, text = member.spilo("restore", "--to", str(node.data))
    assert code == Exit.REFUSED and "running member" in text
    assert not (place / "to").exists()
    assert node.value("SELECT count(*) FROM steps") == 2


def test_expire(member: Member) -> None:
    """Expiry shows its plan and does nothing, until it is told to; then the older backup and its WAL are gone."""
    older = member.list()[-1]["name"]
    assert member.spilo("now")[0] == 0
    newer = member.list()[-1]["name"]
    code, text = member.spilo("expire")
    assert code == 0 and f"delete  {older}" in text and f"keep    {newer}" in text and "add --yes" in text
    assert older in [one["name"] for one in member.list()]
    code, text = member.spilo("expire", "--yes")
    assert code == 0 and "retention carried out" in text, text
    assert [one["name"] for one in member.list()] == [newer]
    assert "nothing is to be deleted" in member.spilo("expire", "--dry-run")[1]


def test_stopped(member: Member) -> None:
    """A backup that is told to end frees the lock, leaves nothing in the store, and is recorded as stopped."""
    node = member.node
    node.sql("CREATE TABLE bulk AS SELECT repeat(md5(n::text), 60) AS t FROM generate_series(1, 200000) AS n")
    before = len(member.list())
    command = [sys.executable, "-m", "runtime.backup", "take", f"--spec={node.run / 'steward.json'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = next(line for line in child.stdout if "base backup copies" in line)
        child.terminate()
        said += child.stdout.read()
        assert child.wait(20) == Exit.RETRY, said
    records = Records(node.spec())
    record = records.get("backup")
    assert record is not None and not record["ok"] and "the backup was stopped" in record["error"]
    assert records.etcd.get(records.root + "backup-lock") is None
    assert len(member.list()) == before
