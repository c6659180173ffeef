"""What etcd and the other members say of the cluster, as far as it decides where a member without data begins."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from runtime.api import Api, Unanswered
from runtime.etcd import Etcd, Unreachable
from runtime.holders import CONSENT, KEY, Holders, place
from runtime.log import Log
from runtime.spec import Spec

T = TypeVar("T")
SAY_AGAIN = 30.0  # seconds between two lines of log while etcd does not answer
# Patroni's keys that belong to the members' data; what is left are the configuration and the members themselves.
OF_DATA = ("leader", "sync", "status", "optime/leader", "failover", "history", "failsafe", CONSENT)


def patiently(call: Callable[[], T], log: Log) -> T:
    """The answer of etcd. Asks until it answers: Patroni could do nothing without it either, and a store that is out of
    reach is not an empty one."""
    silent = told = time.monotonic()
    while True:
        try:
            return call()
        except Unreachable as error:
            now = time.monotonic()
            if now - told > (1 if told == silent else SAY_AGAIN):
                log.warning("waiting for etcd", seconds=round(now - silent), error=error)
                told = now
            time.sleep(0.05 if now - silent < SAY_AGAIN else 1)


class Cluster:
    """The cluster in etcd. What is asked waits for etcd."""

    def __init__(self, config: dict[str, Any], spec: Spec, log: Log) -> None:
        self.root, self.etcd = place(config), Etcd(config["etcd3"])
        self._spec, self._log = spec, log
        self._ttl = float(config["bootstrap"]["dcs"]["ttl"])
        self._leader: tuple[str | None, float] = None, 0.0

    def get(self, key: str) -> str | None:
        return patiently(lambda: self.etcd.get(self.root + key), self._log)

    def leader(self) -> tuple[str | None, bool]:
        """(who holds the leader lock, whether it lives). A lock outlives its holder by its time to live; who does not
        answer, but still has it after more than that, lives."""
        name, now = self.get("leader"), time.monotonic()
        if name != self._leader[0]:
            self._leader = name, now
        if name is None or name == self._spec.member:  # ours is that of a predecessor
            return name, False
        return name, self._answers(name) or now - self._leader[1] > self._time_to_live() + 5

    def follows(self) -> bool:
        """Whether the cluster follows another one, as long as nobody has promoted it."""
        with contextlib.suppress(ValueError, AttributeError):
            text = self.get("config")
            return text is None or bool(json.loads(text).get("standby_cluster"))
        return True

    def _answers(self, member: str) -> bool:
        with contextlib.suppress(Unanswered, ValueError, KeyError, TypeError):
            url = str(json.loads(self.get(f"members/{member}") or "{}")["api_url"]).removesuffix("/patroni")
            return Api(self._spec, url, 3.0).role() is not None
        return False

    def _time_to_live(self) -> float:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return max(self._ttl, float(json.loads(self.get("config") or "{}")["ttl"]))
        return self._ttl

    def settle(self, initialize: str | None, holders: str | None, system: str) -> bool:
        """Make the data of this member the cluster's, if nothing has changed since it was decided. What the cluster knew of
        the data that is gone is removed; `initialize` is never missing meanwhile, because then any member could make an
        empty cluster."""
        mine = Holders(system, (self._spec.member,)).text()
        expected = {"initialize": initialize, "leader": None, KEY: holders}
        wanted = {"initialize": system, KEY: mine, **dict.fromkeys(OF_DATA)}
        return patiently(lambda: self.etcd.change({self.root + name: value for name, value in expected.items()},
                                                  {self.root + name: value for name, value in wanted.items()}), self._log)
