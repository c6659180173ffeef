"""The few questions that our tools ask of etcd themselves, over its JSON gateway (etcd v3.5, "gRPC gateway").

Everything about who is primary goes through Patroni; this is for reading what Patroni keeps there.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import urllib3


class Unreachable(Exception):
    """etcd gave no answer. That says nothing about what is in it."""


class Etcd:
    """A client for the local endpoint, made from the `etcd3` section of Patroni's configuration."""

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

    def get(self, key: str) -> str | None:
        """The value of a key, None if there is no such key; raises Unreachable."""
        if self.user and not self.token:
            self.token = self.call("/auth/authenticate", {"name": self.user, "password": self.password})["token"]
        answer = self.call("/kv/range", {"key": base64.b64encode(key.encode()).decode()})
        found = answer.get("kvs")
        return base64.b64decode(found[0].get("value", "")).decode() if found else None
