"""Patroni's configuration: our defaults, the user's SPILO_CONFIGURATION over them, what is mandatory over both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import runtime
from bootstrap import parameters, storage
from runtime import archive
from runtime.replica import from_backup, from_leader
from runtime.spec import ENVIRONMENT
from runtime.steward import post_init

if TYPE_CHECKING:
    from bootstrap.plan import Node

# ttl, loop_wait, retry_timeout in seconds; Patroni enforces loop_wait + 2 * retry_timeout <= ttl and ttl >= 20.
TIMINGS = {"fast": (20, 1, 3), "balanced": (20, 2, 5), "patient": (30, 10, 10)}
DURABILITY: dict[str, dict[str, Any]] = {
    "quorum": {"synchronous_mode": "quorum", "synchronous_mode_strict": False},
    "strict": {"synchronous_mode": "quorum", "synchronous_mode_strict": True},
    "async": {"synchronous_mode": False, "synchronous_mode_strict": False},
}
PG_ISREADY = str(Path(runtime.__file__).with_name("bin") / "pg_isready")


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
        language = locale.partition(".")[0].replace("_", "-")
        options = [{"locale-provider": "icu"}, {"icu-locale": language}, {"locale": "C.UTF-8"}]
    # pg_hba.conf is written by Patroni before the first start; until then nobody gets in.
    return [{"encoding": "UTF8"}, "data-checksums", {"auth-local": "peer"}, {"auth-host": "reject"}, *options]


def _hba(node: Node) -> list[str]:
    """Who may connect: people inside the container by being there, everybody else by TLS and scram."""
    standby = node.settings["PGUSER_STANDBY"]
    own = ["local all all peer map=spilo", "local replication all peer map=spilo",
           f'hostssl replication "{standby}" all scram-sha-256']
    given = node.settings["SPILO_CONFIGURATION"].get("postgresql", {}).get("pg_hba")
    if given is not None:
        # Members must always reach one another, whatever else the given lines say.
        return [*own, f'hostssl all "{node.settings["PGUSER_SUPERUSER"]}" samenet scram-sha-256', *given]
    return [*own, "hostssl all all all scram-sha-256",
            *(["host all all all scram-sha-256"] if node.settings["ALLOW_NOSSL"] else [])]


def _postgresql(node: Node) -> dict[str, Any]:
    settings, layout = node.settings, node.layout
    verify = {"sslmode": "verify-ca", "sslrootcert": str(layout.trusted)}
    superuser = {"username": settings["PGUSER_SUPERUSER"], "password": node.credentials.superuser.reveal()}
    standby = {"username": settings["PGUSER_STANDBY"], "password": node.credentials.standby.reveal()}
    # A cluster that is followed has another authority. There nobody can be in between who does not know the password,
    # because the login is bound to the TLS session. Unix sockets have none, so Patroni replicates from itself by TCP.
    elsewhere = settings["STANDBY_HOST"] is not None
    bound = {"sslmode": "require", "channel_binding": "require"}
    return {
        "listen": f"*:{settings['PGPORT']}",
        "connect_address": node.pg_address,
        "data_dir": str(layout.pgdata),
        "pgpass": str(layout.run / "pgpass"),
        "bin_name": {"pg_isready": PG_ISREADY},
        "use_unix_socket": True,
        "use_unix_socket_repl": not elsewhere,
        "authentication": {
            "superuser": {**superuser, **verify},
            "replication": {**standby, **(bound if elsewhere else verify)},
            **({"rewind": {**superuser, **bound}} if elsewhere else {}),
        },
        "pg_ident": [f"spilo {node.facts.user} all"],
        **_replicas(node),
        "basebackup": [{"checkpoint": "fast"}],
        # A former primary that pg_rewind cannot bring back is copied anew, without a person.
        "remove_data_directory_on_rewind_failure": True,
        "remove_data_directory_on_diverged_timelines": True,
        "parameters": parameters.sized(node.facts),
    }


def _replicas(node: Node) -> dict[str, Any]:
    """How a replica is made, and where it finds WAL that the primary no longer has."""
    spec = str(node.layout.steward)
    methods: dict[str, Any] = {"from_leader": {"command": from_leader.command(spec), "keep_data": False}}
    if storage.followed(node.settings):  # only the section standby_cluster names it, so it ends with the following
        methods["from_source"] = {"command": from_backup.command(spec, source=True), "keep_data": False, "no_leader": True}
    if not storage.archived(node.settings):
        return {"create_replica_methods": ["from_leader"], **methods}
    return {
        "create_replica_methods": ["from_backup", "from_leader"],
        "from_backup": {"command": from_backup.command(spec), "keep_data": False},
        **methods,
        "recovery_conf": {"restore_command": archive.fetch_command(str(node.layout.archive_socket), "standby")},
    }


def _standby_cluster(node: Node) -> dict[str, Any]:
    """The cluster that this one follows, until a person promotes it (`spilo promote`)."""
    settings = node.settings
    source, host, slot = storage.followed(settings), settings["STANDBY_HOST"], settings["STANDBY_PRIMARY_SLOT_NAME"]
    if not (source or host):
        return {}
    restore = archive.fetch_command(str(node.layout.source_socket), "standby")
    return {"standby_cluster": {
        **({"host": host, "port": settings["STANDBY_PORT"]} if host else {}),
        **({"primary_slot_name": slot} if slot else {}),
        **({"restore_command": restore} if source else {}),
        "create_replica_methods": [*(["from_source"] if source else []), "from_leader"],
    }}


def _archiving(node: Node) -> dict[str, Any]:
    if not storage.archived(node.settings):
        return {"archive_mode": "off"}
    return {"archive_mode": "on", "archive_command": archive.push_command(str(node.layout.archive_socket))}


def _mandatory(node: Node) -> dict[str, Any]:
    settings, layout = node.settings, node.layout
    server = layout.certificate("server" if settings["SSL_CERTIFICATE"] else "node")
    return {
        **parameters.MANDATORY,
        **_archiving(node),
        "unix_socket_directories": str(layout.sockets),
        "ssl_cert_file": str(server),
        "ssl_key_file": str(server.with_suffix(".key")),
        "ssl_ca_file": str(layout.trusted),
        "ssl_crl_file": str(layout.certificate("server").with_suffix(".crl")) if settings["SSL_CRL"] else "",
    }


def _etcd(node: Node) -> dict[str, Any]:
    settings, own = node.settings, node.layout.certificate("node")
    etcd = {
        "host": f"127.0.0.1:{settings['ETCD_LOCAL_PORT']}",
        "protocol": "https",
        "use_proxies": True,
        "cacert": str(node.layout.authority),
        "cert": str(own),
        "key": str(own.with_suffix(".key")),
    }
    if settings["ETCD_USERNAME"]:
        etcd["username"] = settings["ETCD_USERNAME"]
    if settings["ETCD_PASSWORD"]:
        etcd["password"] = settings["ETCD_PASSWORD"].reveal()
    return etcd


def _dcs(node: Node) -> dict[str, Any]:
    """What is the same for all members, and lives in etcd."""
    ttl, loop_wait, retry_timeout = TIMINGS[node.settings["TIMINGS"]]
    connections = {"max_connections": parameters.max_connections(node.facts.memory)}
    archived = parameters.ARCHIVE_DEFAULT if storage.archived(node.settings) else {}
    return {
        "ttl": ttl,
        "loop_wait": loop_wait,
        "retry_timeout": retry_timeout,
        "maximum_lag_on_failover": 1 << 20,
        "primary_start_timeout": 60,
        "failsafe_mode": True,
        **DURABILITY[node.settings["DURABILITY"]],
        "synchronous_node_count": 1,
        **_standby_cluster(node),
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "parameters": {**connections, **parameters.SHARED_DEFAULT, **parameters.DEFAULT, **archived},
        },
    }


def configuration(node: Node) -> dict[str, Any]:
    """The whole configuration as a tree, ready to be dumped as YAML."""
    settings, layout = node.settings, node.layout
    restapi = layout.certificate("restapi" if settings["SSL_RESTAPI_CERTIFICATE"] else "node")
    own = layout.certificate("node")
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
        "etcd3": _etcd(node),
        "bootstrap": {
            # Patroni only makes empty clusters; everything else is there before it starts (runtime/governor/).
            "initdb": _initdb(settings["INITDB_LOCALE"]),
            "post_init": post_init.command(str(layout.steward)),
            "dcs": _dcs(node),
        },
        "postgresql": _postgresql(node),
        "tags": {},
    }
    result = merge(ours, settings["SPILO_CONFIGURATION"])
    result["postgresql"]["pg_hba"] = _hba(node)
    local, shared = result["postgresql"]["parameters"], result["bootstrap"]["dcs"]["postgresql"]["parameters"]
    # A member's parameters win over the cluster's, so our sizes step back for what is given for the cluster.
    given = settings["SPILO_CONFIGURATION"]
    for name in _given(given.get("bootstrap", {}).get("dcs", {})) - _given(given):
        local.pop(name, None)
    local |= _mandatory(node)
    shared |= parameters.SHARED_MANDATORY
    # A new cluster starts with the note of what the environment said, so that the steward sees later changes only.
    result["bootstrap"]["dcs"][ENVIRONMENT] = dynamic(result, given)
    return result


def _given(tree: Mapping[str, Any]) -> set[str]:
    return {str(name).lower() for name in tree.get("postgresql", {}).get("parameters", {})}


def dynamic(configuration: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The part that lives in etcd and is the same for all members; the primary's steward keeps it up to date.

    Without `standby_cluster`: following begins with a cluster and ends with `spilo promote`, and no primary may become a
    standby because of its environment. Without `max_connections`, unless SPILO_CONFIGURATION (`given`) has it: it follows
    from the memory of the member that made the cluster, and must not change with whatever member is primary.
    """
    part = {key: value for key, value in configuration["bootstrap"]["dcs"].items()
            if key not in (ENVIRONMENT, "standby_cluster")}
    if "max_connections" in _given(given.get("bootstrap", {}).get("dcs", {})):
        return part
    shared = {name: value for name, value in part["postgresql"]["parameters"].items() if name != "max_connections"}
    return {**part, "postgresql": {**part["postgresql"], "parameters": shared}}


def dump(configuration: dict[str, Any]) -> bytes:
    """YAML of the configuration."""
    return yaml.dump(configuration, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False,
                     allow_unicode=True).encode()
