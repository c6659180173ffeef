"""The cluster-wide part of Patroni's configuration: what the environment says reaches etcd, once per change.

etcd keeps, beside Patroni's own keys, a fingerprint of what the environment last said. While it is the same, whatever
a person has changed there by hand (`patronictl edit-config`) stays; when the environment says something new, that wins.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from runtime.api import Api
from runtime.log import Log

KEY = "spilo_environment"


def fingerprint(dynamic: dict[str, Any]) -> str:
    """A short hash of the configuration, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(dynamic, sort_keys=True).encode()).hexdigest()[:16]


def apply(api: Api, wanted: dict[str, Any], log: Log) -> bool:
    """Bring the configuration in etcd up to date; False if that has to be tried again."""
    status, current = api.call("GET", "/config")
    if status != 200 or not isinstance(current, dict):
        return False
    mark = fingerprint(wanted)
    if current.get(KEY) == mark:
        return True
    status, answer = api.call("PATCH", "/config", {**wanted, KEY: mark})
    if status != 200:
        log.warning("Patroni refuses the configuration", status=status, answer=answer)
        return False
    if KEY in current:
        log.info("cluster-wide configuration follows the environment")
    return True
