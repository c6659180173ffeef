"""A member that stands alone: what a person gets from the image without a single setting."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import subprocess
from pathlib import Path

import psycopg2
import pytest
import yaml

from tests.component.support import Node, alive, eventually, running


def ask(node: Node, method: str, path: str, login: str | None = None, body: str | None = None) -> int:
    """The status that the REST interface answers, with the cluster's authority verified. `login`: user:password."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", node.api_port, timeout=20, context=ssl.create_default_context(cafile=node.trusted)
    )
    headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login is not None else {}
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def right(node: Node) -> str:
    return f"{node.spec().api_user}:{node.spec().api_password}"


def test_roles_have_their_rights_and_nothing_but_scram(alone: Node) -> None:
    """admin is for people and no superuser; standby replicates; every stored password is a SCRAM verifier."""
    rights = {
        row[0]: row[1:]
        for row in alone.sql(
            "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolcanlogin FROM pg_roles WHERE rolname !~ '^pg_'"
        )
    }
    assert rights == {
        "postgres": (True, True, True, True, True),
        "standby": (False, False, False, True, True),
        "admin": (False, True, True, False, True),
    }
    assert all(
        one.startswith("SCRAM-SHA-256$") for (one,) in alone.sql("SELECT rolpassword FROM pg_authid WHERE rolcanlogin")
    )


def test_admin_does_what_people_do(alone: Node) -> None:
    """Make a role and a database for an application, look at activity; read no password, become no superuser."""
    alone.sql("CREATE ROLE application LOGIN PASSWORD 'x'", kind="admin")
    alone.sql("CREATE DATABASE application OWNER admin", kind="admin")
    try:
        assert alone.value("SELECT count(*) FROM pg_stat_activity WHERE query IS NOT NULL", kind="admin")
        for forbidden in (
            "SELECT rolpassword FROM pg_authid",
            "ALTER ROLE admin SUPERUSER",
            "ALTER SYSTEM SET fsync = off",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('PG_VERSION')",
            "GRANT postgres TO admin",
        ):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                alone.sql(forbidden, kind="admin")
    finally:
        alone.sql("DROP DATABASE application", kind="admin")
        alone.sql("DROP ROLE application", kind="admin")


def test_postgresql_is_set_up_as_designed(alone: Node) -> None:
    """The parameters that safety rests on, and the extension that everybody wants, in every database to come."""
    wanted = {
        "data_checksums": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "jit": "off",
        "ssl": "on",
        "wal_log_hints": "on",
        "password_encryption": "scram-sha-256",
        "logging_collector": "off",
        "archive_mode": "off",
        "hot_standby": "on",
        "wal_level": "replica",
        "shared_buffers": "64MB",
        "timezone": "UTC",
        "server_encoding": "UTF8",
        "shared_preload_libraries": "pg_stat_statements",
        "ssl_min_protocol_version": "TLSv1.2",
        "unix_socket_directories": str(alone.root / "run" / "postgresql"),
        "port": str(alone.port),
    }
    found = {name: alone.value("SELECT current_setting(%s)", name) for name in wanted}
    assert found == wanted
    alone.sql("CREATE DATABASE later")
    try:
        assert (
            alone.value("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'", dbname="later") == 1
        )
    finally:
        alone.sql("DROP DATABASE later")


def test_only_tls_with_scram_gets_in(alone: Node) -> None:
    """Plain text, a wrong password and an unknown role are refused; the authority verifies the server's name."""
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        alone.connect("admin", sslmode="disable")
    for wrong in ({"password": ""}, {"password": "admin"}, {"user": "nobody"}):
        with pytest.raises(psycopg2.OperationalError, match=r"authentication failed|no password supplied"):
            alone.connect("admin", **wrong)
    assert (
        alone.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", kind="admin", sslmode="verify-full")
        is True
    )
    for name in ("127.0.0.1", "localhost"):
        alone.connect("admin", host=name, hostaddr="127.0.0.1", sslmode="verify-full").close()
    with pytest.raises(psycopg2.OperationalError, match="does not match host name"):
        alone.connect("admin", host="elsewhere.example", hostaddr="127.0.0.1", sslmode="verify-full")
    assert {row[0] for row in alone.sql("SELECT DISTINCT auth_method FROM pg_hba_file_rules")} == {
        "peer",
        "scram-sha-256",
    }


def test_the_socket_is_for_our_own_user(alone: Node) -> None:
    """Inside the container, without a password: psql as any role, because only our user reaches the socket."""
    said = subprocess.run(
        [
            "psql",
            "-h",
            str(alone.root / "run" / "postgresql"),
            "-p",
            str(alone.port),
            "-U",
            "postgres",
            "-Atc",
            "SELECT session_user",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "postgres\n"
    assert (alone.root / "run" / "postgresql").stat().st_mode & 0o777 in (0o700, 0o755)


def test_passwords_appear_nowhere(alone: Node) -> None:
    """Not in the log, not in the statistics, not in a file that others can read, not in an environment, not in ps."""
    spec = alone.spec()
    secrets = [
        *(role.password for role in spec.roles.values()),
        spec.api_password,
        (alone.data.parent / "credentials" / "cluster-secret").read_text().strip(),
    ]
    statements = " ".join(row[0] for row in alone.sql("SELECT query FROM pg_stat_statements"))
    settings = json.dumps(
        alone.sql("SELECT name, setting FROM pg_settings UNION ALL SELECT name, setting FROM pg_file_settings")
    )
    processes = " ".join(shown(pid) for pid in (alone.pid, *(one.pid for one in alone.below())))
    readable = "".join(
        path.read_text(errors="replace")
        for path in alone.root.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o004
    )
    for name, text in {
        "statements": statements,
        "settings": settings,
        "processes": processes,
        "log": alone.text(),
        "readable files": readable,
    }.items():
        assert not [one for one in secrets if one in text], f"a secret is in the {name}"


def shown(pid: int) -> str:
    """Command line and environment of a process; nothing once it has ended."""
    try:
        return "".join(Path(f"/proc/{pid}/{kind}").read_text(errors="replace") for kind in ("cmdline", "environ"))
    except OSError:
        eventually(lambda: not alive(pid), 5, "what does not show itself, though it is our own, is about to end")
        return ""


def test_generated_files_are_for_our_eyes(alone: Node) -> None:
    """Everything with a secret is 0600 in a folder 0700; the data and the kept secret too."""
    assert alone.run.stat().st_mode & 0o777 == 0o700
    for name in (
        "patroni.yml",
        "steward.json",
        "supervisord.conf",
        "tls/authority.key",
        "tls/node.key",
        "pgpass",
        "log/current",
    ):
        path = alone.run / name
        if path.exists() or name != "pgpass":  # Patroni writes it when it first needs it
            assert path.stat().st_mode & 0o777 == 0o600, name
    assert (alone.data.parent / "credentials" / "cluster-secret").stat().st_mode & 0o777 == 0o600
    assert alone.data.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/primary", 200),
        ("/master", 200),
        ("/pg_master", 200),
        ("/read-write", 200),
        ("/leader", 200),
        ("/health", 200),
        ("/liveness", 200),
        ("/readiness", 200),
        ("/replica", 503),
        ("/read-only", 200),
        ("/standby-leader", 503),
        ("/cluster", 200),
        ("/patroni", 200),
        ("/metrics", 200),
        ("/config", 200),
        ("/history", 200),
    ],
)
def test_load_balancers_get_their_answers(alone: Node, path: str, status: int) -> None:
    """Health checks are open to everybody, over TLS, with the names that old load balancers ask for too."""
    assert ask(alone, "GET", path) == status


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/config", '{"ttl": 31}'),
        ("PUT", "/config", '{"ttl": 31}'),
        ("POST", "/restart", "{}"),
        ("DELETE", "/restart", None),
        ("POST", "/reload", "{}"),
        ("POST", "/switchover", '{"leader": "alone"}'),
        ("DELETE", "/switchover", None),
        ("POST", "/failover", '{"candidate": "alone"}'),
        ("POST", "/reinitialize", '{"force": true}'),
        ("POST", "/sigterm", None),
        ("POST", "/citus", "{}"),
        ("POST", "/failsafe", '{"name": "x"}'),
        ("PUT", "/failsafe", "{}"),
    ],
)
def test_changes_need_the_password(alone: Node, method: str, path: str, body: str | None) -> None:
    """Without a login, with a wrong one, with another role's: refused, whatever the path."""
    before = alone.api().call("GET", "/config")
    admin = alone.spec().roles["admin"]
    for login in (
        None,
        "",
        "patroni:",
        "patroni:patroni",
        f"{admin.name}:{admin.password}",
        ":" + alone.spec().api_password,
    ):
        assert ask(alone, method, path, login, body) in (401, 403, 404, 405, 501), login
    assert alone.api().call("GET", "/config") == before
    assert alone.role() == "primary"


def test_the_password_allows_changes(alone: Node) -> None:
    """With it the same calls are accepted."""
    login = right(alone)
    before = alone.api().call("GET", "/config")[1]
    assert ask(alone, "PATCH", "/config", login, '{"maximum_lag_on_failover": 2097152}') == 200
    assert alone.api().call("GET", "/config")[1] == before | {"maximum_lag_on_failover": 2097152}
    assert (
        ask(
            alone, "PATCH", "/config", login, json.dumps({"maximum_lag_on_failover": before["maximum_lag_on_failover"]})
        )
        == 200
    )
    assert ask(alone, "POST", "/reload", login, "{}") in (200, 202)
    assert ask(alone, "POST", "/switchover", login, '{"leader": "alone"}') in (
        412,
        503,
    )  # allowed, but there is nobody else


def test_a_restart_takes_the_environment_over_and_keeps_what_people_changed(place: Path) -> None:
    """One life of a member: a changed password and a changed configuration are applied at the next start, a change by
    hand through REST stays, plain text is allowed by ALLOW_NOSSL only, the data is there all the time."""
    node = Node("life", place)
    with running(node):
        node.start(PGPASSWORD_ADMIN="the first one")
        node.until("primary")
        node.sql("CREATE TABLE kept AS SELECT 42 AS x")
        derived = node.spec().roles["standby"].password
        change = '{"postgresql": {"parameters": {"log_min_duration_statement": "7s"}}}'
        eventually(lambda: ask(node, "PATCH", "/config", right(node), change) == 200, 20, "Patroni takes the change")
        assert node.stop() == 0

        node.start()
        node.until("primary")
        assert parameters(node)["log_min_duration_statement"] == "7s", "lost at a restart with the same environment"
        eventually(lambda: node.value("SELECT current_setting('log_min_duration_statement')") == "7s", 10, "it is in force")
        assert node.spec().roles["standby"].password == derived, "the kept secret gives other passwords"
        assert node.stop() == 0

        wanted = {
            "bootstrap": {
                "dcs": {
                    "maximum_lag_on_failover": 4194304,
                    "postgresql": {"parameters": {"max_locks_per_transaction": 128}},
                }
            },
            "postgresql": {"parameters": {"work_mem": "9MB"}},
        }
        node.start(PGPASSWORD_ADMIN="the second one", SPILO_CONFIGURATION=yaml.safe_dump(wanted), ALLOW_NOSSL="true")
        node.until("primary")
        eventually(
            lambda: node.api().call("GET", "/config")[1]["maximum_lag_on_failover"] == 4194304,
            15,
            "the new value is in etcd",
        )
        assert parameters(node)["max_locks_per_transaction"] == 128
        assert parameters(node)["log_min_duration_statement"] == "7s"
        assert node.value("SELECT current_setting('work_mem')") == "9MB"
        eventually(lambda: admitted(node, "the second one"), 10, "the new password is accepted")
        assert not admitted(node, "the first one")
        assert (
            node.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", kind="admin", sslmode="disable")
            is False
        )
        with pytest.raises(psycopg2.OperationalError, match="no encryption"):
            node.connect("standby", sslmode="disable", dbname="replication", replication="true")
        assert node.value("SELECT x FROM kept") == 42
        assert not [one for one in ("the first one", "the second one") if one in node.text()]
        assert node.stop() == 0


def parameters(node: Node) -> dict[str, object]:
    """The parameters of PostgreSQL that are kept in etcd."""
    found: dict[str, object] = node.api().call("GET", "/config")[1]["postgresql"]["parameters"]
    return found


def admitted(node: Node, password: str) -> bool:
    """Whether admin gets in with this password."""
    try:
        node.connect("admin", password=password).close()
        return True
    except psycopg2.OperationalError as error:
        assert "authentication failed" in str(error)
        return False
