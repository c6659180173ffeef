"""Clusters whose members are killed and lose their disks, and what they had committed."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from tests.component.servers import Etcd
from tests.component.stored import settings
from tests.component.support import Node, eventually, folder, running
from tests.kit.s3 import Rclone

BUCKET = "archives"


@dataclass
class World:
    """An etcd, a store, and members of clusters that use both."""

    etcd: Etcd
    store: Rclone
    place: Path

    def member(self, scope: str, name: str, **more: str) -> Node:
        return Node(name, self.place, {**self.etcd.settings(scope), **settings(self.store, BUCKET), **more})

    def objects(self, scope: str) -> dict[str, tuple[int, str]]:
        """Size and content (etag) of each object of a cluster's archive, by name."""
        pages = self.store.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"spilo/{scope}/wal/17/")
        return {one["Key"].partition("/wal/17/")[2]: (one["Size"], one["ETag"])
                for page in pages for one in page.get("Contents", [])}

    def forget(self, scope: str) -> None:
        """etcd loses the cluster."""
        self.etcd.ctl("del", "--prefix", f"/service/{scope}/")

    def known(self, scope: str, key: str) -> str:
        return self.etcd.ctl("get", "--print-value-only", f"/service/{scope}/{key}").strip()


@contextlib.contextmanager
def world() -> Iterator[World]:
    place = folder()
    etcd, store = Etcd("etcd", place), Rclone("store", place)
    with running(etcd, store):
        etcd.start()
        store.start()
        etcd.until_healthy()
        store.until_ready()
        store.bucket(BUCKET)
        yield World(etcd, store, place)
    shutil.rmtree(place, ignore_errors=True)


def lose(*nodes: Node) -> None:
    """The members are killed, and their volumes are gone."""
    for node in nodes:
        node.kill()
    for node in nodes:
        shutil.rmtree(node.root)
        node.log.write_text("")


def says(node: Node, pattern: str, seconds: float = 30) -> str:
    """Wait for a line of the member's log, and return it."""
    def line() -> str | None:
        return next((one for one in node.text().splitlines() if re.search(pattern, one)), None)

    return eventually(line, seconds, f"{node.name} says {pattern!r}")


def ended(node: Node, pattern: str, seconds: float = 60) -> str:
    """Wait until the member's container has ended for a reason; what it said last."""
    assert node.wait(seconds) == 7, node.text()[-3000:]
    last = node.text().rpartition("refused to go on")[2]
    assert re.search(pattern, last), last
    return last


def ours(node: Node, seconds: float = 60) -> None:
    """Wait until the member is the primary and the steward has given the roles the passwords of this cluster."""
    node.until("primary", seconds)

    def enters() -> bool:
        with contextlib.suppress(psycopg2.OperationalError):
            node.connect().close()
            return True
        return False

    eventually(enters, 20, f"{node.name} has our passwords")
