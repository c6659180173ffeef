"""Patroni's configuration: our defaults, the user's SPILO_CONFIGURATION over them, what is mandatory over both."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from bootstrap import parameters
from bootstrap.settings import Problem
from runtime.replica import from_leader
from runtime.steward import post_init

if TYPE_CHECKING:
    from bootstrap.plan import Node

# ttl, loop_wait, retry_timeout in seconds; Patroni enforces loop_wait + 2 * retry_timeout <= ttl and ttl >= 20.
TIMINGS = {"fast": (20, 1, 3), "balanced": (20, 2, 5), "patient": (30, 10, 10)}
DURABILITY = {
    "quorum": {"synchronous_mode": "quorum", "synchronous_mode_strict": False},
    "strict": {"synchronous_mode": "quorum", "synchronous_mode_strict": True},
    "async": {"synchronous_mode": False, "synchronous_mode_strict": False},
}

# Dotted paths of SPILO_CONFIGURATION that are refused, and what to use instead.
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
    "restapi.listen": "use APIPORT",
    "restapi.connect_address": "use RESTAPI_CONNECT_ADDRESS",
    "restapi.authentication*": "use RESTAPI_USERNAME and RESTAPI_PASSWORD",
    "restapi.*file": "use SSL_RESTAPI_CERTIFICATE and its family",
    "restapi.verify_client": "changes are protected by RESTAPI_PASSWORD",
    "ctl*": "the appliance sets it",
    "postgresql.listen": "use PGPORT",
    "postgresql.connect_address": "use PG_CONNECT_ADDRESS",
    "postgresql.data_dir": "use PGDATA",
    "postgresql.bin_dir": "the image has one PostgreSQL",
    "postgresql.config_dir": "the appliance sets it",
    "postgresql.pgpass": "the appliance sets it",
    "postgresql.authentication*": "use PGUSER_... and PGPASSWORD_...",
    "postgresql.pg_ident": "the appliance sets it",
    "bootstrap.dcs.synchronous_*": "use DURABILITY",
    "bootstrap.post_init": "the appliance sets it",
    "bootstrap.post_bootstrap": "the appliance sets it",
    "bootstrap.method": "the appliance sets it",
    "bootstrap.users*": "Patroni 4 ignores it; create roles with SQL",
    "bootstrap.initdb": "use INITDB_LOCALE",
}
_PARAMETERS = ("postgresql.parameters.", "bootstrap.dcs.postgresql.parameters.")
_METHODS = {"scram-sha-256", "cert", "ldap", "gss", "sspi", "pam", "radius", "reject"}


def _paths(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")


def check(given: Mapping[str, Any]) -> list[Problem]:
    """What SPILO_CONFIGURATION names but may not override, or gives in a form that is not safe."""
    problems: list[Problem] = []

    def refuse(path: str, value: Any, fix: str) -> None:
        text = value if isinstance(value, (str, int, bool)) else type(value).__name__
        shown = "<secret>" if "password" in path and "encryption" not in path else repr(text)
        problems.append(Problem(f"SPILO_CONFIGURATION: {path}", shown, "only what may be overridden", fix))

    for path, value in _paths(given):
        pattern = next((p for p in REFUSED if fnmatch.fnmatchcase(path, p)), None)
        parameter = next((path.removeprefix(p) for p in _PARAMETERS if path.startswith(p)), None)
        if pattern and "." not in path[len(pattern.rstrip("*")):]:
            refuse(path, value, f"{REFUSED[pattern]}; remove it")
        elif parameter in parameters.BLOCKED:
            refuse(path, value, f"{parameters.BLOCKED[parameter]}; remove it")
        elif parameter == "synchronous_commit" and str(value).lower() in ("off", "false", "local", "no", "0"):
            refuse(path, value, "use DURABILITY=async, or set it in the sessions that can lose commits")
        elif path in ("postgresql.pg_hba", "bootstrap.dcs.postgresql.pg_hba"):
            for line in value if isinstance(value, list) else [value]:
                reason = _unsafe(str(line))
                if reason:
                    refuse(path, line, reason)
    return problems


def _unsafe(line: str) -> str | None:
    """Why a line of pg_hba.conf is refused, or None. Fields: type, database, user, address [mask], method."""
    words = re.sub(r"#.*", "", line).split()
    if not words:
        return None
    if words[0] == "local":
        return "local connections are decided by the appliance (peer); remove the line"
    method = next((word for word in words[3:] if not re.match(r"[\d.:/a-fA-F]+$|all$|samehost$|samenet$|\.|[^=]+=", word)), "")
    if words[0] not in ("host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"):
        return "start the line with hostssl"
    if words[0] in ("host", "hostnossl", "hostnogssenc") and "reject" not in words:
        return "use hostssl, so that nothing crosses the network in the clear (clients without TLS: ALLOW_NOSSL)"
    if not _METHODS & set(words[3:]):
        return f"use scram-sha-256 or cert instead of {method or 'what the line says'}"
    return None


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` merged into `base`: mappings deeply, everything else replaced. Neither argument is changed."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return result


def _initdb(locale: str) -> list[Any]:
    if locale.upper().replace("-", "") in ("C.UTF8", "C"):
        options = [{"locale-provider": "builtin"}, {"builtin-locale": "C.UTF-8"}, {"locale": "C.UTF-8"}]
    else:
        language = locale.split(".")[0].replace("_", "-")
        options = [{"locale-provider": "icu"}, {"icu-locale": language}, {"locale": "C.UTF-8"}]
    return [{"encoding": "UTF8"}, "data-checksums", *options]


def _hba(node: Node) -> list[str]:
    """Who may connect: people inside the container by being there, everybody else by TLS and scram."""
    standby = node.settings["PGUSER_STANDBY"]
    own = ["local all all peer map=spilo", "local replication all peer map=spilo", f'hostssl replication "{standby}" all scram-sha-256']
    given = node.settings["SPILO_CONFIGURATION"].get("postgresql", {}).get("pg_hba")
    if given is not None:
        # Members must always reach one another, whatever else the given lines say.
        return [*own, f'hostssl all "{node.settings["PGUSER_SUPERUSER"]}" samenet scram-sha-256', *given]
    return [*own, "hostssl all all all scram-sha-256", *(["host all all all scram-sha-256"] if node.settings["ALLOW_NOSSL"] else [])]


def _postgresql(node: Node) -> dict[str, Any]:
    settings, layout = node.settings, node.layout
    verify = {"sslmode": "verify-ca", "sslrootcert": str(layout.trusted)}
    return {
        "listen": f"*:{settings['PGPORT']}",
        "connect_address": node.pg_address,
        "data_dir": str(layout.pgdata),
        "pgpass": str(layout.run / "pgpass"),
        "use_unix_socket": True,
        "use_unix_socket_repl": True,
        "authentication": {
            "superuser": {"username": settings["PGUSER_SUPERUSER"], "password": node.credentials.superuser.reveal(), **verify},
            "replication": {"username": settings["PGUSER_STANDBY"], "password": node.credentials.standby.reveal(), **verify},
        },
        "pg_ident": [f"spilo {node.facts.user} all"],
        "create_replica_methods": ["from_leader"],
        "from_leader": {"command": from_leader.command(str(layout.steward)), "keep_data": False},
        "basebackup": [{"checkpoint": "fast"}],
        # A former primary that pg_rewind cannot bring back is copied anew, without a person.
        "remove_data_directory_on_rewind_failure": True,
        "remove_data_directory_on_diverged_timelines": True,
        "parameters": {**parameters.DEFAULT, **parameters.sized(node.facts)},
    }


def _mandatory(node: Node) -> dict[str, Any]:
    settings, layout = node.settings, node.layout
    server = layout.certificate("server" if settings["SSL_CERTIFICATE"] else "node")
    return {
        **parameters.MANDATORY,
        "unix_socket_directories": str(layout.sockets),
        "ssl_cert_file": str(server),
        "ssl_key_file": str(server.with_suffix(".key")),
        "ssl_ca_file": str(layout.trusted),
        "ssl_crl_file": str(layout.certificate("server").with_suffix(".crl")) if settings["SSL_CRL"] else "",
    }


def configuration(node: Node) -> dict[str, Any]:
    """The whole configuration as a tree, ready to be dumped as YAML."""
    settings, layout = node.settings, node.layout
    ttl, loop_wait, retry_timeout = TIMINGS[settings["TIMINGS"]]
    restapi = layout.certificate("restapi" if settings["SSL_RESTAPI_CERTIFICATE"] else "node")
    own = layout.certificate("node")
    etcd = {
        "host": f"127.0.0.1:{settings['ETCD_LOCAL_PORT']}",
        "protocol": "https",
        "use_proxies": True,
        "cacert": str(layout.authority),
        "cert": str(own),
        "key": str(own.with_suffix(".key")),
    }
    if settings["ETCD_USERNAME"]:
        etcd["username"] = settings["ETCD_USERNAME"]
    if settings["ETCD_PASSWORD"]:
        etcd["password"] = settings["ETCD_PASSWORD"].reveal()
    ours: dict[str, Any] = {
        "scope": node.scope,
        "namespace": f"/{settings['NAMESPACE']}/",
        "name": node.member,
        "log": {
            "level": settings["LOG_LEVEL"],
            "format": "%(asctime)s.%(msecs)03dZ %(levelname)s patroni[%(process)d] %(message)s",
            "dateformat": "%Y-%m-%dT%H:%M:%S",
            "deduplicate_heartbeat_logs": True,
        },
        "restapi": {
            "listen": f"0.0.0.0:{settings['APIPORT']}",
            "connect_address": node.api_address,
            "certfile": str(restapi),
            "keyfile": str(restapi.with_suffix(".key")),
            "authentication": {"username": settings["RESTAPI_USERNAME"], "password": node.credentials.restapi.reveal()},
        },
        "ctl": {"cacert": str(layout.trusted), "certfile": str(own), "keyfile": str(own.with_suffix(".key"))},
        "etcd3": etcd,
        "bootstrap": {
            "initdb": _initdb(settings["INITDB_LOCALE"]),
            "post_init": post_init.command(str(layout.steward)),
            "dcs": {
                "ttl": ttl,
                "loop_wait": loop_wait,
                "retry_timeout": retry_timeout,
                "maximum_lag_on_failover": 1 << 20,
                "primary_start_timeout": 60,
                "failsafe_mode": True,
                **DURABILITY[settings["DURABILITY"]],
                "synchronous_node_count": 1,
                "postgresql": {
                    "use_pg_rewind": True,
                    "use_slots": True,
                    "parameters": {"max_connections": parameters.max_connections(node.facts.memory), **parameters.SHARED_DEFAULT},
                },
            },
        },
        "postgresql": _postgresql(node),
        "tags": {},
    }
    result = merge(ours, settings["SPILO_CONFIGURATION"])
    result["postgresql"]["pg_hba"] = _hba(node)
    result["postgresql"]["parameters"] |= _mandatory(node)
    shared = result["bootstrap"]["dcs"]["postgresql"]["parameters"]
    shared |= parameters.SHARED_MANDATORY
    return result


def dynamic(configuration: dict[str, Any]) -> dict[str, Any]:
    """The part that lives in etcd and is the same for all members; the primary's steward keeps it up to date."""
    part: dict[str, Any] = configuration["bootstrap"]["dcs"]
    return part


def dump(configuration: dict[str, Any]) -> bytes:
    """YAML of the configuration."""
    return yaml.dump(configuration, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, allow_unicode=True).encode()
