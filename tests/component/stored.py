"""Members with an archive: their settings, `spilo` asked on them, and the wait for their first base backup."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from tests.component.support import Node, eventually
from tests.kit.s3 import REGION, Endpoint


def settings(server: Endpoint, bucket: str, prefix: str = "") -> dict[str, str]:
    """The variables of a member whose store (or, with a prefix, the one that it reads) is a bucket of `server`."""
    given: Mapping[str, str] = {"WAL_S3_BUCKET": bucket, "AWS_ENDPOINT": server.url, "AWS_REGION": REGION, **server.key.variables()}
    return {prefix + name: value for name, value in given.items()}


def spilo(node: Node, *words: str) -> tuple[int, str]:
    """The exit code and everything that `spilo` says."""
    done = subprocess.run(["spilo", *words], env={**os.environ, "SPILO_STEWARD": str(node.run / "steward.json")},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def backed_up(node: Node, seconds: float = 40) -> str:
    """The name of the newest base backup, once there is one."""
    def newest() -> str | None:
        code, text = spilo(node, "status", "--output", "json")
        stored = json.loads(text)["stored"] if code == 0 else {}
        return (stored.get("backup", {}).get("newest") or {}).get("name")

    return eventually(newest, seconds, f"{node.name} has made a base backup")


def archived(node: Node, seconds: float = 30) -> str:
    """Everything that was written so far, in the archive; the last segment's name."""
    node.sql("SELECT pg_logical_emit_message(false, 'test', 'so that there is something in it')")
    name = str(node.value("SELECT pg_walfile_name(pg_switch_wal())"))
    eventually(lambda: (node.value("SELECT last_archived_wal FROM pg_stat_archiver") or "") >= name, seconds, f"{name} is archived")
    return name


def why(node: Node) -> dict[str, Any]:
    """What `spilo replica why` says to programs."""
    code, text = spilo(node, "replica", "why", "--output", "json")
    assert code == 0, text
    return dict(json.loads(text))
