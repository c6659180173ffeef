"""What the cluster knows of its archive and backups, in etcd, so that every member can say it without asking the store.

backup   {"tried", "member", "ok", "error", "seconds": the last try; "last": {"name", "finished", "size", "stored",
         "start_lsn", "stop_lsn"} of the newest complete backup, or null}
drill    the certificate of the last restore drill (runtime/backup/certificate.py), and of the last one that was all right
archive  what the primary's archiver says of itself, and "member"

Moments are seconds since the epoch.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from runtime.etcd import Etcd
from runtime.spec import Spec


class Records:
    """The records of one cluster. All methods raise etcd.Unreachable."""

    def __init__(self, spec: Spec, timeout: float = 3.0) -> None:
        with open(spec.patroni, encoding="utf-8") as file:
            config = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.etcd = Etcd(config["etcd3"], timeout)
        self.root = f"/{config['namespace'].strip('/')}/{spec.scope}/spilo/"

    def get(self, name: str) -> dict[str, Any] | None:
        """The record, None where there is none, or none that can be read."""
        text = self.etcd.get(self.root + name)
        try:
            value = json.loads(text or "null")
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def put(self, name: str, value: dict[str, Any]) -> None:
        """Replace the record."""
        self.etcd.put(self.root + name, json.dumps(value, sort_keys=True))
