"""`spilo psql`, `connect`, `ca` and `password`: how to get into the database, from here and from outside."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from runtime.cli import ask
from runtime.cli.people import note
from runtime.spec import Role, Spec
from runtime.trouble import Exit, Trouble

ROLES = ("superuser", "standby", "admin", "restapi")
# What a psql may keep of our environment, which in `docker exec` has the container's secrets in it.
KEEP = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TERM", "COLUMNS", "LINES", "PAGER", "EDITOR", "PGOPTIONS", "PGAPPNAME")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    psql = commands.add_parser("psql", help="psql on this member as superuser; arguments are psql's", add_help=False)
    psql.set_defaults(run=run_psql)
    connect = commands.add_parser(
        "connect", help="how clients connect: a libpq connection string",
        description="Prints a libpq connection string, without a password, that names all members, so that a client "
                    "finds the primary wherever it is. ca.crt is what `spilo ca` prints.")
    connect.add_argument("--replica", action="store_true", help="for reading: a replica if there is one")
    connect.add_argument("--uri", action="store_true", help="as postgresql://... instead of key=value words")
    connect.set_defaults(run=run_connect)
    authority = commands.add_parser(
        "ca", help="the authority that clients check the members with (PEM)",
        description="Prints the authorities (PEM) that members check each other with; clients use them as sslrootcert.")
    authority.set_defaults(run=run_ca)
    password = commands.add_parser("password", help="the password of an account of the cluster",
                                   description="Prints the password of an account on stdout.")
    password.add_argument("role", choices=ROLES)
    password.set_defaults(run=run_password)


def environment(spec: Spec, environ: Mapping[str, str]) -> dict[str, str]:
    """What psql gets: our defaults as variables, which any argument overrides."""
    kept = {name: value for name, value in environ.items() if name in KEEP or name.startswith("PSQL_")}
    return {**kept, "PGHOST": spec.sockets, "PGPORT": str(spec.port), "PGUSER": spec.roles["superuser"].name,
            "PGDATABASE": "postgres"}


def run_psql(spec: Spec, arguments: argparse.Namespace) -> None:
    sys.stdout.flush()
    try:
        os.execvpe("psql", ["psql", *arguments.rest], environment(spec, os.environ))
    except FileNotFoundError:
        raise Trouble(Exit.USAGE, "there is no psql here", "", "run it inside a member's container") from None


def options(members: Sequence[Mapping[str, Any]], user: str, replica: bool) -> dict[str, str]:
    """libpq's keywords for the members of GET /cluster (libpq tries hosts in this order)."""
    reached = [one for one in members if one.get("host")]
    return {
        "host": ",".join(str(one["host"]) for one in reached),
        "port": ",".join(str(one.get("port", 5432)) for one in reached),
        "dbname": "postgres",
        "user": user,
        "target_session_attrs": "prefer-standby" if replica else "read-write",
        "sslmode": "verify-full",
        "sslrootcert": "ca.crt",
    }


def words(pairs: Mapping[str, str]) -> str:
    """key=value words, quoted where libpq needs it."""
    def value(text: str) -> str:
        plain = text and not any(c in " '\\" for c in text)
        return text if plain else "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return " ".join(f"{key}={value(text)}" for key, text in pairs.items())


def uri(pairs: Mapping[str, str]) -> str:
    """The same as a URI; an IPv6 address goes in brackets."""
    rest = dict(pairs)
    hosts, ports = rest.pop("host").split(","), rest.pop("port").split(",")
    user, database = quote(rest.pop("user"), safe=""), quote(rest.pop("dbname"), safe="")
    bracketed = [f"[{host}]" if ":" in host else host for host in hosts]
    places = ",".join(f"{host}:{port}" for host, port in zip(bracketed, ports, strict=True))
    return f"postgresql://{user}@{places}/{database}?{urlencode(rest)}"


def run_connect(spec: Spec, arguments: argparse.Namespace) -> None:
    pairs = options(ask.cluster(spec)["members"], spec.roles["admin"].name, arguments.replica)
    if not pairs["host"]:
        raise Trouble(Exit.RETRY, "no member has told its address yet", "", "see `spilo status`")
    print(uri(pairs) if arguments.uri else words(pairs))
    note("ca.crt: docker exec NODE spilo ca > ca.crt      password: docker exec NODE spilo password admin")


def run_ca(spec: Spec, _arguments: argparse.Namespace) -> None:
    print(spec.trusted.read_text(encoding="ascii"), end="")


def run_password(spec: Spec, arguments: argparse.Namespace) -> None:
    account = Role(spec.api_user, spec.api_password) if arguments.role == "restapi" else spec.roles[arguments.role]
    print(account.password)
    note(f"that is the password of {account.name}; it stays in this terminal's scrollback")
