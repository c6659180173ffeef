"""Judges SPILO_CONFIGURATION: what it names but may not override, or gives in a form that is not safe.

It is merged into Patroni's configuration (render/patroni.py), which would take anything: also what quietly switches off
durability, encryption or passwords, and keys that it then ignores.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from bootstrap import hba, parameters
from bootstrap.settings import Problem

# What there is to override. Patroni ignores any other key in silence, we do not.
KEYS = {
    "": ("bootstrap", "log", "postgresql", "restapi", "tags", "watchdog"),
    "bootstrap.": ("dcs",),
    "bootstrap.dcs.": (
        "check_timeline", "failsafe_mode", "ignore_slots", "loop_wait", "max_timelines_history",
        "maximum_lag_on_failover",
        "maximum_lag_on_syncnode", "member_slots_ttl", "postgresql", "primary_start_timeout", "primary_stop_timeout",
        "retry_timeout", "slots", "standby_cluster", "ttl",
    ),
}

# Dotted paths of SPILO_CONFIGURATION that are refused, and what to use instead. What is said of postgresql holds for
# bootstrap.dcs.postgresql too.
REFUSED = {
    "scope": "use SCOPE",
    "name": "use MEMBER_NAME",
    "namespace": "use NAMESPACE",
    "etcd*": "use the ETCD_ settings",
    "consul*": "only etcd is supported",
    "zookeeper*": "only etcd is supported",
    "exhibitor*": "only etcd is supported",
    "kubernetes*": "only etcd is supported",
    "raft*": "only etcd is supported",
    "ctl*": "the appliance sets it",
    "restapi.listen": "use APIPORT",
    "restapi.connect_address": "use RESTAPI_CONNECT_ADDRESS",
    "restapi.auth*": "use RESTAPI_USERNAME and RESTAPI_PASSWORD",
    "restapi.*file*": "use SSL_RESTAPI_CERTIFICATE and its family",
    "restapi.verify_client": "changes are protected by RESTAPI_PASSWORD",
    "postgresql.listen": "use PGPORT",
    "postgresql.connect_address": "use PG_CONNECT_ADDRESS",
    "postgresql.data_dir": "use PGDATA",
    "postgresql.bin_*": "the image has one PostgreSQL",
    "postgresql.config_dir": "the appliance sets it",
    "postgresql.custom_conf": "use postgresql.parameters, which is checked",
    "postgresql.recovery_conf": "use postgresql.parameters, which is checked",
    "postgresql.pgpass": "the appliance sets it",
    "postgresql.authentication*": "use PGUSER_... and PGPASSWORD_...",
    "postgresql.pg_ident": "the appliance sets it",
    "postgresql.from_leader": "the appliance sets it",
    "bootstrap.dcs.postgresql.pg_hba": "use postgresql.pg_hba, on each member",
    "bootstrap.dcs.synchronous_*": "use DURABILITY",
    "bootstrap.dcs.pause": "pause a running cluster with patronictl, and only for as long as it takes",
    "bootstrap.post_*": "the appliance sets it",
    "bootstrap.method": "the appliance sets it",
    "bootstrap.pg_hba": "use postgresql.pg_hba",
    "bootstrap.users*": "Patroni 4 ignores it; create roles with SQL",
    "bootstrap.initdb": "use INITDB_LOCALE",
}
_MAPPINGS = ("postgresql.parameters", "bootstrap.dcs.postgresql",
             *(f"{prefix}{key}" for prefix in ("", "bootstrap.") for key in KEYS[prefix]))
_SAFE_COMMITS = ("on", "true", "yes", "1", "remote_write", "remote_apply")


def check(given: Mapping[str, Any], plain: bool = False) -> list[Problem]:
    """What SPILO_CONFIGURATION names but may not override, or gives in a form that is not safe. `plain`: clients may
    connect without TLS. Values are not shown where they can be secrets."""
    return [Problem(f"SPILO_CONFIGURATION: {path}", shown, "only what may be overridden", fix)
            for path, shown, fix in _refused(given, "", plain)]


def _refused(tree: Mapping[str, Any], prefix: str, plain: bool) -> Iterator[tuple[str, str, str]]:
    """(path, what was given, fix) of everything below `prefix` that is refused."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        alike = path.removeprefix("bootstrap.dcs.") if path.startswith("bootstrap.dcs.postgresql.") else path
        fix = next((fix for pattern,
                    fix in REFUSED.items() if fnmatchcase(path, pattern) or fnmatchcase(alike, pattern)), None)
        if fix:
            yield path, "given", f"{fix}; remove it"
        elif key not in KEYS.get(prefix, (key,)):
            near = difflib.get_close_matches(str(key), KEYS[prefix], 1, 0.7)
            yield path, "given", f"did you mean {prefix}{near[0]}?" if near else f"use one of {', '.join(KEYS[prefix])}"
        elif alike in _MAPPINGS and not isinstance(value, Mapping):
            yield path, type(value).__name__, "give a mapping, or remove it"
        elif alike == "postgresql.pg_hba":
            yield from ((path, shown, fix) for shown, fix in hba.problems(value, plain))
        elif alike.startswith("postgresql.parameters."):
            fix = _parameter(alike.removeprefix("postgresql.parameters."), value, path == alike)
            if fix:
                yield path, "given", fix
        elif isinstance(value, Mapping):
            yield from _refused(value, f"{path}.", plain)


def _parameter(name: str, value: Any, local: bool) -> str | None:
    """Why a parameter of PostgreSQL is refused, as a fix, or None. Their names are the same in any case."""
    name = name.lower()
    if name in parameters.BLOCKED:
        return f"{parameters.BLOCKED[name]}; remove it"
    if not re.fullmatch(r"[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)*",
                        name):  # it is written into postgresql.conf as it is
        return "give the name of a parameter"
    if isinstance(value, Mapping | list) or "\n" in str(value):
        return "give one value, a text of one line"
    if name == "synchronous_commit" and {True: "on", False: "off"}.get(value, str(value).lower()) not in _SAFE_COMMITS:
        return "use DURABILITY=async, or set it in the sessions that can lose commits"
    if local and name in ("max_connections", *parameters.SHARED_DEFAULT):
        return f"give it as bootstrap.dcs.postgresql.parameters.{name}; all members must have the same"
    return None
