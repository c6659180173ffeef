"""Whether a data directory is sound: pg_amcheck while its server runs, pg_checksums once it has stopped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

LINES = 5  # of what a tool complains about, in a reason


def _run(command: list[str], more: Mapping[str, str]) -> str | None:
    """None if all is well, else the first of what it said."""
    environ = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "HOME") if name in os.environ}
    done = subprocess.run(command, env={**environ, **more}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return "; ".join(lines[:LINES]) or f"exit code {done.returncode}"


def amcheck(host: str, port: int, user: str) -> str | None:
    """What is wrong with the tables and indexes of all databases, None if nothing is. The server is a copy: the extension
    is installed where it is missing."""
    command = ["pg_amcheck", "--all", "--install-missing", "--no-password", f"--host={host}", f"--port={port}",
               f"--username={user}"]
    # What a database says of its sessions is not for this one.
    own = "-c event_triggers=off -c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0"
    return _run(command, {"PGOPTIONS": own, "PGAPPNAME": "spilo drill"})


def checksums(data: Path) -> str | None:
    """What is wrong with the pages of a stopped cluster, None if nothing is."""
    return _run(["pg_checksums", "--check", f"--pgdata={data}"], {})
