"""Backups that make themselves, and restore drills that find what is wrong with them, on whole members with a real store."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from runtime.backup import checks, work
from runtime.trouble import Exit
from tests.component.servers import Etcd
from tests.component.support import SECRET, Node, eventually, folder, running
from tests.kit.s3 import REGION, Rclone

BUCKET = "drills"


@dataclass
class Archived:
    """A member with an object store."""

    node: Node
    server: Rclone

    @property
    def prefix(self) -> str:
        return f"spilo/{self.node.spec().scope}/wal/17/"

    def spilo(self, *words: str) -> tuple[int, str]:
        """The exit code and everything that `spilo` says."""
        done = subprocess.run(["spilo", *words], env={**os.environ, "SPILO_STEWARD": str(self.node.run / "steward.json")},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout

    def verify(self) -> list[str]:
        """The command line of a drill."""
        return list(work("verify", str(self.node.run / "steward.json")))

    def status(self) -> dict[str, Any]:
        code, text = self.spilo("status", "--output", "json")
        return dict(json.loads(text)) if code == 0 else {}

    def stored(self) -> dict[str, Any]:
        return dict(self.status().get("stored") or {})

    def backup(self) -> str:
        """The name of the newest backup, once there is one."""
        return str(eventually(lambda: (self.stored().get("backup", {}).get("newest") or {}).get("name"), 25, "there is a backup"))

    def keys(self, folder: str) -> list[str]:
        answer = self.server.client().list_objects_v2(Bucket=BUCKET, Prefix=self.prefix + folder)
        return [one["Key"] for one in answer.get("Contents", [])]

    def get(self, key: str) -> bytes:
        return bytes(self.server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def put(self, key: str, body: bytes) -> None:
        self.server.client().put_object(Bucket=BUCKET, Key=key, Body=body)

    @contextlib.contextmanager
    def changed(self, key: str, body: bytes | None) -> Iterator[None]:
        """The object with another content, or gone, for a while."""
        before = self.get(key)
        if body is None:
            self.server.client().delete_object(Bucket=BUCKET, Key=key)
        else:
            self.put(key, body)
        yield
        self.put(key, before)

    def certificate(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.get(f"{self.prefix}spilo_005/drills/{name}.json")))


def settings(server: Rclone) -> dict[str, str]:
    return {"WAL_S3_BUCKET": BUCKET, "AWS_ENDPOINT": server.url, "AWS_REGION": REGION, **server.key.variables()}


@pytest.fixture(scope="module")
def server() -> Iterator[Rclone]:
    server = Rclone("drill-store", folder())
    with running(server):
        server.start()
        server.until_ready()
        server.bucket(BUCKET)
        yield server


@pytest.fixture(scope="module")
def archived(server: Rclone) -> Iterator[Archived]:
    """A member that stands alone and archives."""
    node = Node("proven", folder(), {**settings(server), "VERIFY_SCHEDULE": "never"})
    with running(node):
        node.start()
        node.until("primary")
        yield Archived(node, server)


def test_the_first_backup_makes_itself(archived: Archived) -> None:
    """A primary without a backup makes one at once, and `spilo status` says so, and that nothing was proven yet."""
    name = archived.backup()
    assert archived.keys(f"basebackups_005/{name}/tar_partitions/")
    stored = archived.stored()
    assert (stored["backup"]["state"], stored["drill"]["state"]) == ("ok", "off")
    assert stored["archive"]["member"] == "proven"
    eventually(lambda: archived.stored()["archive"]["last_archived"], 30, "the archiver says what it has archived")
    assert archived.status()["warnings"] == []


def test_a_drill_that_is_ok(archived: Archived) -> None:
    """What was committed came back, with checks; the certificate is in the store, in etcd and in the list; the member and
    its volume are as before."""
    node, name = archived.node, archived.backup()
    node.sql("CREATE DATABASE application")
    node.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS x", dbname="application")
    postmaster = (node.data / "postmaster.pid").read_text()
    code, said = archived.spilo("backup", "verify")
    assert code == Exit.OK, said
    found = archived.certificate(name)
    assert (found["result"], found["member"], found["backup"]) == ("ok", "proven", name)
    assert found["rpo_bytes"] > 0, "nothing of the table was archived when it began"
    assert found["rto_seconds"] > 0
    assert found["version"].startswith("17.")
    assert archived.stored()["drill"]["last"]["proven"]["backup"] == name
    code, listed = archived.spilo("backup", "list", "--output", "json")
    assert code == 0
    assert '"ok"' in listed
    assert not node.spec().store.scratch.exists()  # type: ignore[union-attr]
    assert (node.data / "postmaster.pid").read_text() == postmaster
    assert node.value("SELECT count(*) FROM kept", dbname="application") == 1000
    assert node.value("SELECT count(*) FROM pg_replication_slots") == 0
    assert node.value("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'") == 0


def test_a_drill_without_the_space_is_skipped_with_its_reason(archived: Archived) -> None:
    """It is no failure, and takes nothing away from what was proven before; it is said all the same."""
    name = archived.backup()
    proven = archived.certificate(name)["result"]
    done = subprocess.run([*archived.verify(), f"--keep-free={1 << 60}"], capture_output=True, text=True, check=False)
    assert done.returncode == Exit.UNPROVEN, done.stdout
    drill = archived.stored()["drill"]
    assert drill["state"] == "skipped"
    assert "MiB are free" in drill["last"]["reason"]
    assert drill["last"]["proven"]["backup"] == name
    assert archived.certificate(name)["result"] == proven == "ok"


def failed(archived: Archived) -> str:
    """The reason of a drill that fails, after having seen that nobody can overlook it."""
    name = archived.backup()
    code, said = archived.spilo("backup", "verify")
    assert code == Exit.UNPROVEN, said
    assert "restore drill FAILED" in said
    _, page = archived.spilo("status")
    assert "WARNING: the last restore drill FAILED" in page.splitlines()[1]
    found = archived.certificate(name)
    assert found["result"] == "failed"
    assert found["reason"] in page
    return str(found["reason"])


def test_a_flipped_byte_in_a_partition_is_found(archived: Archived) -> None:
    """The reason names the object."""
    key = archived.keys(f"basebackups_005/{archived.backup()}/tar_partitions/")[0]
    content = bytearray(archived.get(key))
    content[len(content) // 2] ^= 1
    with archived.changed(key, bytes(content)):
        assert key.rpartition("/")[2] in failed(archived)


def test_a_deleted_segment_is_found(archived: Archived) -> None:
    """The reason names the segment that is missing, though later ones are there."""
    node = archived.node
    node.sql("SELECT pg_logical_emit_message(false, 'test', 'so that there is something to archive')")
    segment = node.value("SELECT pg_walfile_name(pg_switch_wal())")
    key = f"{archived.prefix}wal_005/{segment}.lzo"
    eventually(lambda: key in archived.keys("wal_005/"), 60, "the segment is archived")
    with archived.changed(key, None):
        assert segment in failed(archived)


WRONG = """
CREATE FUNCTION compare(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp($1, $2)';
CREATE OPERATOR CLASS changing FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 compare(int, int);
CREATE INDEX wrong ON kept (x changing);
CREATE OR REPLACE FUNCTION compare(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp($2, $1)';
"""


def test_an_index_that_is_wrong_is_found(archived: Archived) -> None:
    """What has been wrong on the primary comes back wrong, and pg_amcheck names it."""
    archived.node.sql(WRONG, dbname="application")
    try:
        assert 'item order invariant violated for index "wrong"' in failed(archived)
    finally:
        archived.node.sql("DROP INDEX wrong; DROP OPERATOR FAMILY changing USING btree; DROP FUNCTION compare",
                          dbname="application")


def test_a_page_that_is_wrong_is_found(place: Path) -> None:
    """Where the cluster has checksums, all pages are checked."""
    subprocess.run(["initdb", "--data-checksums", "--no-sync", "-D", str(place / "data")], check=True, capture_output=True)
    assert checks.checksums(place / "data") is None
    file = max((place / "data" / "base" / "1").iterdir(), key=lambda one: one.stat().st_size)
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    assert file.name in str(checks.checksums(place / "data"))


def test_a_drill_that_is_ok_again_ends_the_warning(archived: Archived) -> None:
    """Once the archive is whole, and proven by name."""
    code, said = archived.spilo("backup", "verify", archived.backup())
    assert code == Exit.OK, said
    status = archived.status()
    assert (status["stored"]["drill"]["last"]["result"], status["warnings"]) == ("ok", [])


def inside(process: psutil.Process, folder: Path) -> bool:
    """Whether a process works in that folder."""
    with contextlib.suppress(psutil.Error):
        return Path(process.cwd()).is_relative_to(folder)
    return False


def test_a_drill_that_is_broken_off_leaves_nothing(archived: Archived) -> None:
    """Asked to end, it takes its server and its files away; killed, its server ends too, and the files go with the next
    start of the scheduler."""
    node = archived.node
    archived.backup()
    scratch = node.spec().store.scratch  # type: ignore[union-attr]
    for number in (signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen(archived.verify(), stdout=subprocess.PIPE, text=True) as drill:
            assert drill.stdout
            assert any("restoring" in line for line in drill.stdout)
            drill.send_signal(number)
        assert drill.returncode == {signal.SIGTERM: 130, signal.SIGKILL: -9}[number]
        assert scratch.exists() is (number == signal.SIGKILL), sorted(scratch.rglob("*"))[:5]
        eventually(lambda: not [one for one in psutil.process_iter() if inside(one, scratch)], 10, "no server is left")
    scheduler = node.program("schedule")
    assert scheduler
    scheduler.kill()
    eventually(lambda: not scratch.exists(), 20, "the scheduler removes what is left")


def test_a_replica_proves_the_backup_as_scheduled(server: Rclone, etcd: Etcd) -> None:
    """The primary makes the backup, a replica restores it in time, once in the cluster; an idle scheduler is small."""
    place = folder()
    common = {**settings(server), "SCOPE": "drilled", "ETCD_HOST": f"127.0.0.1:{etcd.port}", "CLUSTER_SECRET": SECRET,
              "VERIFY_SCHEDULE": "* * * * *"}
    first, second = (Node(name, place, common) for name in ("one", "two"))
    with running(first, second):
        first.start()
        first.until("primary")
        second.start()
        second.until("replica", 90)
        both = [Archived(first, server), Archived(second, server)]
        drill = eventually(lambda: both[1].stored().get("drill", {}).get("last"), 120, "a drill was made")
        assert (drill["result"], drill["member"]) == ("ok", "two"), drill
        assert both[0].stored()["drill"]["last"]["member"] == "two", "the primary knows of it"
        eventually(lambda: (both[1].stored()["archive"] or {}).get("member") == "one", 30, "the replica knows of the archive")
        scheduler = second.program("schedule")
        assert scheduler
        assert scheduler.memory_info().rss < 50 << 20
