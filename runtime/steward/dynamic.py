"""The cluster-wide part of Patroni's configuration: what the environment says reaches etcd, each change once.

etcd keeps, beside Patroni's own keys, what the environment last said. Only what it says differently now is changed, so
whatever a person has changed there by hand (`patronictl edit-config`) stays until the environment contradicts it.
"""

from __future__ import annotations

from typing import Any

from runtime.api import Api
from runtime.log import Log
from runtime.spec import ENVIRONMENT


def changes(last: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What turns `last` into `wanted`, in the form of Patroni's PATCH: mappings merge, None removes a key."""
    found: dict[str, Any] = {key: None for key in last if key not in wanted and last[key] is not None}
    for key, value in wanted.items():
        old = last.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            deeper = changes(old, value)
            if deeper:
                found[key] = deeper
        elif old != value:
            found[key] = value
    return found


def apply(api: Api, wanted: dict[str, Any], log: Log) -> bool:
    """Bring the configuration in etcd up to date; False if that has to be tried again."""
    status, current = api.call("GET", "/config")
    if status != 200 or not isinstance(current, dict):
        return False
    last = current.get(ENVIRONMENT)
    patch = changes(last, wanted) if isinstance(last, dict) else wanted
    if not patch:
        return True
    status, answer = api.call("PATCH", "/config", {**patch, ENVIRONMENT: patch})
    if status != 200:
        log.warning("Patroni refuses the configuration", status=status, answer=answer)
        return False
    if isinstance(last, dict):
        log.info("cluster-wide configuration follows the environment", changed=",".join(sorted(paths(patch))))
    return True


def paths(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of all leaves."""
    return [path for key, value in tree.items()
            for path in (paths(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"])]
