"""Who has data of the cluster, kept in etcd by the primary (runtime/holders.py says what for).

A member comes in as soon as it runs. It goes out when it says itself that it has lost its data, or when it was away for so
long that the archive has everything that it has; while the archive fails, nobody is forgotten.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from runtime import postgres
from runtime.api import Api
from runtime.etcd import Etcd, Unreachable
from runtime.holders import CONSENT, KEY, Holders, place
from runtime.log import Log
from runtime.spec import Spec

FORGET = 600.0  # seconds that a member is away before its data counts no more
RUNNING = ("running", "streaming", "in archive recovery")  # states in GET /cluster


def updated(known: Iterable[str], me: str, listed: Mapping[str, str], away: Mapping[str, float], healthy: bool) -> set[str]:
    """The members that have data. `listed`: state by member, `away`: for how many seconds each that is not listed was seen
    to be."""
    running = {name for name, state in listed.items() if state in RUNNING}
    gone = {name for name in known if healthy and name not in listed and away.get(name, 0.0) >= FORGET}
    return (set(known) - gone) | running | {me}


def archives(status: Path) -> bool:
    """Whether the archiver says that it does not fail."""
    try:
        return json.loads(status.read_text(encoding="utf-8")).get("failing_since") is None
    except (OSError, ValueError, AttributeError):
        return False


class Keeper:
    """Writes the list where it has changed; `look` is called on the primary."""

    def __init__(self, spec: Spec, api: Api, log: Log) -> None:
        self.spec, self.api, self.log = spec, api, log
        with open(spec.patroni, encoding="utf-8") as file:
            config: dict[str, Any] = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.etcd, self.root = Etcd(config["etcd3"]), place(config)
        self.since: dict[str, float] = {}

    def look(self) -> None:
        """One round; a cluster or an etcd that does not answer is asked again in the next. Raises api.Unanswered."""
        if self.spec.store is None:
            return
        status, answer = self.api.call("GET", "/cluster")
        system = postgres.system_identifier(self.spec.data)
        if status != 200 or not isinstance(answer, dict) or system is None:
            return
        listed = {str(one["name"]): str(one.get("state")) for one in answer.get("members", [])}
        try:
            self._write(listed, system, archives(self.spec.store.status))
        except Unreachable:
            return

    def _write(self, listed: Mapping[str, str], system: str, healthy: bool) -> None:
        text, now = self.etcd.get(self.root + KEY), time.monotonic()
        known = Holders.parse(text)
        members = known.members if known and known.system == system else ()
        self.since = {name: self.since.get(name, now) for name in members if name not in listed}
        away = {name: now - since for name, since in self.since.items()}
        new = Holders(system, tuple(sorted(updated(members, self.spec.member, listed, away, healthy))))
        if new.text() == text:
            return
        done = self.etcd.create(self.root + KEY, new.text()) if text is None else self.etcd.replace(self.root + KEY, text, new.text())
        if done:
            if text is None:
                self.etcd.delete(self.root + CONSENT)  # there is data after all
            self.log.info("members that have data of this cluster", members=",".join(new.members))
