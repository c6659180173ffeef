"""The Plan: which files to write and which programs to run. A pure value: comparable, printable, testable.

`make` is where the appliance is put together; read it to know what runs in the container and why.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap import derive
from bootstrap.facts import Facts
from bootstrap.kinds import Secret
from bootstrap.layout import Layout
from bootstrap.settings import Settings
from runtime import archive, backup, governor, proxy, sentinel, steward
from runtime.authority import authority
from runtime.spec import Request


@dataclass(frozen=True)
class File:
    """A file to write; `secret` content is 0600 and never printed unmasked."""

    path: Path
    content: bytes = field(repr=False)
    secret: bool = True

    @property
    def mode(self) -> int:
        return 0o600 if self.secret else 0o644


@dataclass(frozen=True)
class Program:
    """A program for supervisord: lower `priority` starts first and stops last; times in seconds; after so many `retries`
    of a start, a second longer apart each time, it has failed for good."""

    name: str
    command: tuple[str, ...]
    priority: int
    stop_seconds: int = 10
    retries: int = 5
    listener: bool = False


@dataclass(frozen=True)
class Credentials:
    """Every password of the cluster, given or derived, by role of the account."""

    superuser: Secret
    standby: Secret
    admin: Secret
    restapi: Secret

    def all(self) -> list[Secret]:
        return [self.superuser, self.standby, self.admin, self.restapi]


@dataclass(frozen=True)
class Node:
    """What the renderers need: the settings with every default that depends on the machine filled in."""

    settings: Settings
    facts: Facts
    layout: Layout
    credentials: Credentials
    scope: str
    member: str
    pg_address: str
    api_address: str
    supervisor_password: Secret


@dataclass(frozen=True)
class Plan:
    """Folders (0700), files, certificates and programs of one boot."""

    folders: tuple[Path, ...]
    files: tuple[File, ...]
    certificates: tuple[Request, ...]
    programs: tuple[Program, ...]
    secrets: tuple[str, ...] = field(repr=False)


def _with_port(address: str | None, fallback: str, port: int) -> str:
    address = address or (f"[{fallback}]" if ":" in fallback else fallback)
    return address if address.rpartition("]")[2].count(":") else f"{address}:{port}"


def node(settings: Settings, facts: Facts, layout: Layout, secret: Secret) -> Node:
    """Fill in what depends on the machine and what follows from the cluster's secret."""
    scope = settings["SCOPE"] or "spilo"

    def password(setting: str, role: str) -> Secret:
        return settings[setting] or derive.password(secret, scope, role)

    return Node(
        settings, facts, layout,
        Credentials(
            password("PGPASSWORD_SUPERUSER", "superuser"),
            password("PGPASSWORD_STANDBY", "standby"),
            password("PGPASSWORD_ADMIN", "admin"),
            password("RESTAPI_PASSWORD", "restapi"),
        ),
        scope,
        # A member that stands alone keeps its name whatever container it is in, so that it finds its own lease again.
        settings["MEMBER_NAME"] or (scope if settings.alone else facts.hostname),
        _with_port(settings["PG_CONNECT_ADDRESS"], facts.address, settings["PGPORT"]),
        _with_port(settings["RESTAPI_CONNECT_ADDRESS"], facts.address, settings["APIPORT"]),
        derive.password(secret, scope, "supervisor"),
    )


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _certificates(node: Node) -> tuple[Request, ...]:
    names = [node.member, node.facts.hostname, node.facts.address, _host(node.pg_address), _host(node.api_address),
             *node.settings["SSL_NAMES"], "localhost", "127.0.0.1", "::1"]
    return (Request(str(node.layout.certificate("node")), tuple(dict.fromkeys(names))),)


def make(settings: Settings, facts: Facts, layout: Layout, secret: Secret) -> Plan:
    """The whole appliance as a value. `secret` is CLUSTER_SECRET, or what a member alone keeps on its volume."""
    from bootstrap.render import archive as stores
    from bootstrap.render import etcd, patroni, supervisor

    this = node(settings, facts, layout, secret)
    certificate, key = authority(derive.authority_seed(secret, this.scope), this.scope)
    given = [File(layout.certificate(name), settings[pem].encode(), False)
             for name, pem in (("server", "SSL_CERTIFICATE"), ("restapi", "SSL_RESTAPI_CERTIFICATE")) if settings[pem]]
    given += [File(layout.certificate(name).with_suffix(".key"), settings[pem].reveal().encode())
              for name, pem in (("server", "SSL_PRIVATE_KEY"), ("restapi", "SSL_RESTAPI_PRIVATE_KEY")) if settings[pem]]
    if settings["SSL_CRL"]:
        given.append(File(layout.certificate("server").with_suffix(".crl"), settings["SSL_CRL"].encode(), False))
    trusted = certificate + (settings["SSL_CA"] or "").encode() + (settings["SSL_RESTAPI_CA"] or "").encode()

    configuration = patroni.configuration(this)
    requests = _certificates(this)
    files = [
        File(layout.authority, certificate, False),
        File(layout.authority.with_suffix(".key"), key),
        File(layout.trusted, trusted, False),
        *given,
        File(layout.patroni, patroni.dump(configuration)),
        File(layout.steward, _json(steward_spec(this, configuration, requests))),
    ]
    programs = [
        Program("governor", governor.command(str(layout.patroni), str(layout.last_words / "governor"), str(layout.steward)), 30,
                stop_seconds=3600, retries=8),  # 36 s: longer than the lease of a predecessor of the same name
        Program("steward", steward.command(str(layout.steward)), 40),
        Program("sentinel", sentinel.command(str(layout.last_words)), 1, listener=True),
    ]
    variables = {stores.folder(this, prefix): stores.variables(this, prefix) for prefix in stores.stores(this)}
    files += [File(place / name, text.encode()) for place, each in variables.items() for name, text in each.items()]
    programs += _archive_programs(this)
    if settings.alone:
        files.append(File(layout.etcd, etcd.embedded(this), False))
        programs.append(Program("etcd", ("etcd", "--config-file", str(layout.etcd)), 10))
    else:
        spec = layout.run / "proxy.json"
        files.append(File(spec, _json(etcd.proxy_spec(this)), False))
        programs.append(Program("proxy", proxy.command(str(spec)), 10))
    programs.sort(key=lambda program: program.priority)
    files.append(File(layout.supervisor, supervisor.render(this, tuple(programs))))

    hidden = [secret, this.supervisor_password, *this.credentials.all(),
              *(value for value in settings.values() if isinstance(value, Secret))]
    folders = (layout.run, layout.run / "tls", layout.last_words, layout.sockets, layout.pgroot, *variables)
    return Plan(folders, tuple(files), requests, tuple(programs),
                (*dict.fromkeys(one.reveal() for one in hidden), key.decode()))


def _archive_programs(node: Node) -> list[Program]:
    """The programs around the archive, and the reader of another cluster's archive."""
    from bootstrap.render import archive as stores

    layout = node.layout
    used = tuple(stores.stores(node))
    programs = []
    if "" in used:
        programs += [Program("archiver", archive.command(str(layout.steward)), 20, retries=30),
                     Program("backup", backup.command(str(layout.steward)), 50, retries=30)]
    for prefix in used:
        if prefix:  # settings allow one of them
            source = archive.source_command(str(stores.folder(node, prefix)), str(layout.source_socket),
                                            str(layout.pgroot / "spool-source"))
            programs.append(Program("source", source, 20, retries=30))
    return programs


def steward_spec(node: Node, configuration: dict[str, Any], requests: tuple[Request, ...]) -> dict[str, Any]:
    """What the steward looks after; its own module documents the keys."""
    from bootstrap.render import archive as stores
    from bootstrap.render import patroni

    settings, layout, passwords = node.settings, node.layout, node.credentials
    server, restapi = layout.certificate("server"), layout.certificate("restapi")
    targets = {"SSL_CERTIFICATE": server, "SSL_PRIVATE_KEY": server.with_suffix(".key"),
               "SSL_RESTAPI_CERTIFICATE": restapi, "SSL_RESTAPI_PRIVATE_KEY": restapi.with_suffix(".key")}
    watched = {str(target): settings.files[name] for name, target in targets.items() if name in settings.files}
    return {
        "scope": node.scope,
        "member": node.member,
        "patroni": str(layout.patroni),
        "log": str(layout.log),
        "volume": str(layout.volume),
        "authority": str(layout.authority),
        "trusted": str(layout.trusted),
        "certificates": [{"path": request.path, "names": list(request.names)} for request in requests],
        "watched": watched,
        "api": {"port": settings["APIPORT"], "username": settings["RESTAPI_USERNAME"],
                "password": passwords.restapi.reveal()},
        "postgres": {"sockets": str(layout.sockets), "port": settings["PGPORT"],
                     "superuser": settings["PGUSER_SUPERUSER"],
                     "data": str(layout.pgdata)},
        "roles": {
            "superuser": {"name": settings["PGUSER_SUPERUSER"], "password": passwords.superuser.reveal()},
            "standby": {"name": settings["PGUSER_STANDBY"], "password": passwords.standby.reveal()},
            "admin": {"name": settings["PGUSER_ADMIN"], "password": passwords.admin.reveal()},
        },
        "dynamic": patroni.dynamic(configuration, settings["SPILO_CONFIGURATION"]),
        **stores.spec(node),
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"

