"""A client for Patroni's REST interface, with the cluster's authority and the REST password."""

from __future__ import annotations

import json
from typing import Any

import urllib3

from runtime.spec import Spec


class Unanswered(Exception):
    """Patroni gave no answer at all: not started yet, stopped, or out of reach."""


class Api:
    """Patroni at `base` (an https URL, by default this member's own)."""

    def __init__(self, spec: Spec, base: str | None = None, timeout: float = 5.0) -> None:
        own = base is None
        self.base = base or f"https://127.0.0.1:{spec.api_port}"
        self.headers = urllib3.make_headers(basic_auth=f"{spec.api_user}:{spec.api_password}")
        # A certificate from elsewhere need not name loopback; the authority is checked all the same.
        self.http = urllib3.PoolManager(ca_certs=str(spec.trusted), assert_hostname=False if own else None,
                                        timeout=urllib3.Timeout(timeout), retries=False)

    def call(self, method: str, path: str, body: Any = None, timeout: float | None = None) -> tuple[int, Any]:
        """(status, answer: the parsed JSON, or a text where it is none); raises Unanswered."""
        data = None if body is None else json.dumps(body)
        extra = {} if timeout is None else {"timeout": timeout}
        headers = self.headers if method != "GET" else {}
        try:
            response = self.http.request(method, f"{self.base}{path}", body=data, headers=headers,
                                         **extra)  # type: ignore[arg-type]
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unanswered(str(error)) from None
        text = response.data.decode("utf-8", "replace")
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def role(self) -> str | None:
        """`primary`, `replica`, ... of a running PostgreSQL; None while there is none; raises Unanswered."""
        status, answer = self.call("GET", "/patroni")
        running = status in (200, 503) and isinstance(answer, dict) and answer.get("state") == "running"
        return str(answer.get("role")) if running else None
