"""The few questions that our tools ask of etcd themselves, over its JSON gateway (etcd v3.5, "gRPC gateway").

Everything about who is primary goes through Patroni; this is for reading what Patroni keeps there, and for what the
members tell each other beside it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import urllib3

from runtime.trouble import Exit, Trouble


class Unreachable(Exception):
    """etcd gave no answer. That says nothing about what is in it."""


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Etcd:
    """A client for the local endpoint, made from the `etcd3` section of Patroni's configuration. Every method raises
    Unreachable. Safe for threads."""

    def __init__(self, section: dict[str, Any], timeout: float = 3.0) -> None:
        self.base = f"{section.get('protocol', 'http')}://{section['host']}"
        self.user, self.password = section.get("username"), section.get("password")
        self.token: str | None = None
        self.http = urllib3.PoolManager(
            cert_file=section.get("cert"), key_file=section.get("key"), ca_certs=section.get("cacert"),
            timeout=urllib3.Timeout(timeout), retries=False,
        )

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST to the gateway; raises Unreachable for anything but an answer."""
        headers = {"Authorization": self.token} if self.token else {}
        try:
            response = self.http.request("POST", f"{self.base}/v3{path}", body=json.dumps(body), headers=headers)
            answer = json.loads(response.data)
        except (urllib3.exceptions.HTTPError, ValueError, OSError) as error:
            raise Unreachable(str(error)) from None
        if response.status != 200 or "error" in answer:
            raise Unreachable(str(answer.get("error", response.status)))
        return dict(answer)

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """`call` as the user, where there is one; etcd forgets a login after some minutes, which is then made again."""
        if not self.user:
            return self.call(path, body)
        known = self.token is not None
        try:
            return self._as_user(path, body)
        except Unreachable as error:
            if not (known and "token" in str(error)):
                raise
            self.token = None
            return self._as_user(path, body)

    def _as_user(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if not self.token:
            self.token = self.call("/auth/authenticate", {"name": self.user, "password": self.password})["token"]
        return self.call(path, body)

    def get(self, key: str) -> str | None:
        """The value of a key, None if there is no such key."""
        answer = self.ask("/kv/range", {"key": _coded(key)})
        found = answer.get("kvs")
        return base64.b64decode(found[0].get("value", "")).decode() if found else None

    def put(self, key: str, value: str) -> None:
        """Set the value of a key."""
        self.ask("/kv/put", {"key": _coded(key), "value": _coded(value)})

    def delete(self, key: str) -> None:
        """Remove a key; one that is not there is removed."""
        self.ask("/kv/deleterange", {"key": _coded(key)})

    def create(self, key: str, value: str, lease: str = "0") -> bool:
        """Set a key that is not there yet, for as long as the lease lasts; False where there is one."""
        answer = self.ask("/kv/txn", {
            "compare": [{"key": _coded(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
            "success": [{"request_put": {"key": _coded(key), "value": _coded(value), "lease": lease}}]})
        return bool(answer.get("succeeded"))

    def replace(self, key: str, old: str, new: str) -> bool:
        """Set a key to `new` if it is `old`; False where it is something else, or not there."""
        answer = self.ask("/kv/txn", {
            "compare": [{"key": _coded(key), "target": "VALUE", "result": "EQUAL", "value": _coded(old)}],
            "success": [{"request_put": {"key": _coded(key), "value": _coded(new)}}]})
        return bool(answer.get("succeeded"))

    def change(self, expected: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> bool:
        """Set the keys of `wanted` (None: remove) if those of `expected` are so (None: not there), all at once or not at
        all; False where one is otherwise."""
        compare: list[dict[str, Any]] = []
        for key, value in expected.items():
            if value is None:
                compare.append({"key": _coded(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"})
            else:
                compare.append({"key": _coded(key), "target": "VALUE", "result": "EQUAL", "value": _coded(value)})
        success = [{"request_delete_range": {"key": _coded(key)}} if value is None
                   else {"request_put": {"key": _coded(key), "value": _coded(value)}} for key, value in wanted.items()]
        return bool(self.ask("/kv/txn", {"compare": compare, "success": success}).get("succeeded"))

    def grant(self, seconds: int) -> str:
        """A new lease of so many seconds."""
        return str(self.ask("/lease/grant", {"TTL": str(seconds)})["ID"])

    def renew(self, lease: str) -> bool:
        """Let a lease last its whole time from now on; False where it has ended."""
        answer = self.ask("/lease/keepalive", {"ID": lease})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    def revoke(self, lease: str) -> None:
        """End a lease, and with it what was set for it."""
        self.ask("/lease/revoke", {"ID": lease})


class Lock:
    """Something that only one in the cluster does at a time: a key that lasts as long as its holder lives, plus `seconds`.

    `with Lock(...) as lock:` raises Trouble (RETRY) where somebody else holds it, or etcd is out of reach. `check` is to be
    called while the work goes on: it raises Trouble once the lock is lost, or has to be taken for lost."""

    def __init__(self, etcd: Etcd, key: str, owner: dict[str, Any], *, seconds: int = 30) -> None:
        self.etcd, self.key, self.owner, self.seconds = etcd, key, owner, seconds
        self._lease = ""
        self._sure_until = 0.0  # by our clock, counted from before we asked
        self._lost = False
        self._end = threading.Event()

    def __enter__(self) -> Lock:
        try:
            self._sure_until = time.monotonic() + self.seconds
            self._lease = self.etcd.grant(self.seconds)
            if not self.etcd.create(self.key, json.dumps(self.owner, sort_keys=True), self._lease):
                holder = self.etcd.get(self.key)
                self._release()
                raise Trouble(Exit.RETRY, "another one is at it already", f"{self.key}: {holder}", "wait until that has ended")
        except Unreachable as error:
            self._release()
            raise Trouble(Exit.RETRY, "etcd does not answer, so nobody can tell whether another one is at it", str(error)) from None
        threading.Thread(target=self._keep, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._release()

    def check(self) -> None:
        """Raise Trouble (RETRY) unless the lock is still ours for certain."""
        if self._lost or time.monotonic() > self._sure_until:
            raise Trouble(Exit.RETRY, "the lock in etcd was lost, so another one may have begun", self.key,
                          "it is tried again once etcd answers")

    def _keep(self) -> None:
        while not self._end.wait(self.seconds / 6):
            before = time.monotonic()
            with contextlib.suppress(Unreachable):
                if not self.etcd.renew(self._lease):
                    self._lost = True
                    return
                self._sure_until = before + self.seconds

    def _release(self) -> None:
        if self._lease:
            with contextlib.suppress(Unreachable):
                self.etcd.revoke(self._lease)
