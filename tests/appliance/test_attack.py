"""Somebody on the same network, and somebody inside with a shell: what they get, which is nothing.

The targets are hardened as far as Docker goes: a member alone, and the primary and the replica of a cluster.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import socket
import ssl
import struct
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from bootstrap import derive
from bootstrap.kinds import Secret
from runtime.authority import authority
from tests.kit.cluster import Cluster, Identity
from tests.kit.eventually import eventually
from tests.kit.node import VOLUME, Member
from tests.kit.world import World

HARDENED = (
    "--read-only",
    "--tmpfs",
    "/run",
    "--tmpfs",
    "/tmp",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
)
GIVEN = {"PGPASSWORD_ADMIN": "given & chosen %s #7 'x'", "RESTAPI_PASSWORD": "given-for-rest 'y' %s"}
ROLES = ("postgres", "standby", "admin")
PORTS = {5432, 8008}
LOOPBACK = ("0100007F", "0B00007F", "00000000000000000000000001000000")  # 127.0.0.1, 127.0.0.11 (Docker's DNS), ::1


@pytest.fixture(scope="module")
def alone() -> Iterator[Member]:
    """A member without any setting."""
    with World() as world:
        network = world.network("net")
        member = Member(
            world, "alone", Identity("spilo", "x" * 16), options=HARDENED, places=[(network, network.address(10))]
        )
        member.start()
        eventually("the member is healthy", lambda: member.health() == "healthy", 60)
        member.identity = Identity("spilo", member.exec("cat", f"{VOLUME}/pgroot/credentials/cluster-secret"))
        yield member


@pytest.fixture(scope="module")
def hardened() -> Iterator[Cluster]:
    """Two members, some of their passwords given instead of derived."""
    with Cluster(members=2, etcds=1, env=GIVEN, options=HARDENED) as made:
        for one in (*made.etcds, *made.members):
            one.start()
        eventually("both members are healthy", lambda: all(one.health() == "healthy" for one in made.members), 120)
        eventually(
            "one is primary, one replica",
            lambda: sorted(str(one.role()) for one in made.members) == ["primary", "replica"],
            60,
        )
        yield made


@pytest.fixture(params=["alone", "primary", "replica"])
def target(request: pytest.FixtureRequest) -> Member:
    """Each kind of member in turn."""
    if request.param == "alone":
        member: Member = request.getfixturevalue("alone")
        return member
    cluster: Cluster = request.getfixturevalue("hardened")
    return next(one for one in cluster.members if one.role() == request.param)


def rest_password(target: Member) -> str:
    return target.env.get("RESTAPI_PASSWORD", target.identity.password("restapi"))


def secrets(target: Member) -> dict[str, str]:
    """Everything that must not get out, by what it is."""
    whole = target.identity
    _, key = authority(derive.authority_seed(Secret(whole.secret), whole.scope), whole.scope)
    found = {
        "the cluster's secret": whole.secret,
        **{name: value for name, value in GIVEN.items() if name in target.env},
    }
    found |= {
        f"password of {role}": whole.password(role)
        for role in ("superuser", "standby", "admin", "restapi", "supervisor")
    }
    found |= {
        f"line {i} of the authority's key": line for i, line in enumerate(key.decode().splitlines()) if len(line) > 40
    }
    return found


def leaks(target: Member, text: str) -> list[str]:
    """Which secrets stand in a text."""
    return [name for name, value in secrets(target).items() if value in text]


# From the network: PostgreSQL


def test_common_passwords(target: Member) -> None:
    """No role has a password that somebody would try first."""
    guesses = (
        "",
        "postgres",
        "zalando",
        "admin",
        "standby",
        "cola",
        "password",
        "patroni",
        "spilo",
        target.identity.scope,
        target.short,
    )
    for role, guess in itertools.product(ROLES, guesses):
        with pytest.raises(psycopg2.OperationalError, match=r"authentication failed|no password supplied"):
            psycopg2.connect(target.identity.dsn(target.client, user=role, password=guess))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("database", ["postgres", "replication"])
def test_plain_text(target: Member, role: str, database: str) -> None:
    """Without TLS nobody gets as far as a password, neither for a database nor for replication."""
    more = {"dbname": "postgres", "replication": "true"} if database == "replication" else {"dbname": database}
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        psycopg2.connect(target.identity.dsn(target.client, user=role, sslmode="disable", **more))


def answer_to_login(target: Member, user: str, **more: str) -> tuple[bytes, bytes]:
    """(type, content) of the server's first message to a login over TLS (PostgreSQL documentation, "Message Formats")."""
    context = ssl.create_default_context(cafile=target.identity.authority)
    with socket.create_connection((target.client, 5432), timeout=5) as plain:
        plain.sendall(struct.pack("!ii", 8, 80877103))
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname=target.client) as secured:
            words = (
                "".join(f"{key}\0{value}\0" for key, value in {"user": user, "database": "postgres", **more}.items())
                + "\0"
            )
            secured.sendall(struct.pack("!ii", len(words) + 8, 196608) + words.encode())
            head = secured.recv(5)
            return head[:1], secured.recv(struct.unpack("!i", head[1:])[0] - 4)


@pytest.mark.parametrize("user", [*ROLES, "nobody"])
@pytest.mark.parametrize(
    "more", [{}, {"replication": "true"}, {"database": "template1"}], ids=["database", "replication", "template1"]
)
def test_only_scram_is_offered(target: Member, user: str, more: dict[str, str]) -> None:
    """Neither trust nor a password in the clear nor md5, for whichever role, real or not: SCRAM on the wire. Replication
    is for the one role that is made for it."""
    kind, content = answer_to_login(target, user, **more)
    if "replication" in more and user != "standby":
        assert kind == b"E" and b"C28000" in content
        return
    assert kind == b"R", content
    assert struct.unpack("!i", content[:4])[0] == 10
    assert set(content[4:].rstrip(b"\0").split(b"\0")) == {b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"}


def test_rules_of_access(target: Member) -> None:
    """Inside the container by being its user, from everywhere else by TLS and SCRAM."""
    rules = target.psql("SELECT DISTINCT type, auth_method FROM pg_hba_file_rules").splitlines()
    assert sorted(rules) == ["hostssl|scram-sha-256", "local|peer"]


# From the network: the REST interface


def rest(target: Member, method: str, path: str, login: str | None, body: str | None) -> int:
    """The status; 0 where the server closes the connection without an answer."""
    request = urllib.request.Request(
        f"https://{target.client}:8008{path}", None if body is None else body.encode(), method=method
    )
    if login is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(
            request, timeout=10, context=ssl.create_default_context(cafile=target.identity.authority)
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


CHANGES = (
    ("PATCH", "/config", '{"ttl": 31, "postgresql": {"parameters": {"archive_command": "id"}}}'),
    ("PUT", "/config", '{"ttl": 31}'),
    ("POST", "/failover", '{"candidate": "NAME"}'),
    ("POST", "/switchover", '{"leader": "NAME"}'),
    ("DELETE", "/switchover", None),
    ("POST", "/restart", "{}"),
    ("DELETE", "/restart", None),
    ("POST", "/reinitialize", '{"force": true}'),
    ("POST", "/reload", "{}"),
    ("POST", "/sigterm", None),
    ("POST", "/failsafe", '{"name": "x", "conn_url": "x", "api_url": "x"}'),
    ("POST", "/citus", "{}"),
)


def test_changes_without_the_password(target: Member) -> None:
    """Every call that changes something is refused without the REST password, and nothing has changed afterwards."""
    name = target.env.get("MEMBER_NAME", target.short)
    before = target.api("/config")[1], target.role(), target.psql("SELECT pg_postmaster_start_time()")
    logins = (
        None,
        ":",
        "patroni:",
        "patroni:patroni",
        "admin:admin",
        "postgres:zalando",
        f"admin:{target.identity.password('admin')}",
        f"standby:{target.identity.password('standby')}",
        f"admin:{rest_password(target)}",
    )
    for (method, path, body), login in itertools.product(CHANGES, logins):
        assert rest(target, method, path, login, body and body.replace("NAME", name)) in (401, 403), (
            method,
            path,
            login,
        )
    assert rest(target, "POST", "/mpp", None, "{}") in (
        200,
        400,
    )  # Patroni's own, without effect where there is no Citus
    assert (target.api("/config")[1], target.role(), target.psql("SELECT pg_postmaster_start_time()")) == before


def test_no_plain_text_for_rest(target: Member) -> None:
    """The REST interface speaks TLS only."""
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{target.client}:8008/patroni", timeout=5)


def test_what_rest_tells_everybody(target: Member) -> None:
    """The open health checks tell no secret."""
    for path in ("/", "/patroni", "/cluster", "/config", "/history", "/metrics", "/health"):
        assert not leaks(target, str(target.api(path, authorized=False)[1])), path


# From the network: everything else


async def open_ports(address: str) -> set[int]:
    """Every TCP port that accepts a connection."""
    loop, found, room = asyncio.get_running_loop(), set(), asyncio.Semaphore(400)

    async def knock(port: int) -> None:
        async with room:
            with socket.socket() as probe:
                probe.setblocking(False)
                try:
                    await asyncio.wait_for(loop.sock_connect(probe, (address, port)), 10)
                    found.add(port)
                except ConnectionRefusedError:
                    pass

    await asyncio.gather(*(knock(port) for port in range(1, 65536)))
    return found


def test_open_ports(target: Member) -> None:
    """PostgreSQL and the REST interface answer from outside; etcd, its proxy and supervisord do not."""
    for place in range(len(target.places)):
        assert asyncio.run(open_ports(target.address(place))) == PORTS


def test_listening_ports(target: Member) -> None:
    """The same seen from inside: what listens beyond loopback is PostgreSQL and the REST interface."""
    outside = set()
    for line in target.exec("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines():
        words = line.split()
        address, _, port = words[1].partition(":")
        if words[3] == "0A" and address not in LOOPBACK:
            outside.add(int(port, 16))
    assert outside == PORTS


def test_the_local_etcd(target: Member) -> None:
    """Even on loopback etcd answers to the cluster's certificate only."""
    script = """
import ssl, urllib.request
open_ = ssl._create_unverified_context()
for url in ("https://127.0.0.1:2379/health", "http://127.0.0.1:2379/health"):
    try:
        print("reached", urllib.request.urlopen(url, timeout=5, context=open_ if url.startswith("https") else None).read())
    except OSError as error:
        print("refused")
    except Exception as error:
        print("refused", type(error).__name__)
"""
    assert [line.split()[0] for line in inside(target, script).splitlines()] == ["refused", "refused"]


# Inside


def inside(target: Member, script: str, given: Any = None) -> str:
    """Output of a Python script inside, without the container's environment; `given` reaches it on stdin, as JSON."""
    done = subprocess.run(
        ["docker", "exec", "-i", target.name, "env", "-i", "/opt/spilo/bin/python", "-I", "-c", script],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PROCESSES = """
import json, os, sys, time
secrets = json.load(sys.stdin)
def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status").read().splitlines())
        if status["PPid"].strip() == "0" and pid != "1":
            continue  # what the engine itself starts (exec, health check) has the environment that it was given
        for kind in ("environ", "cmdline"):
            text = open(f"/proc/{pid}/{kind}", errors="replace").read()
            for name, secret in secrets.items():
                if secret in text:
                    print(f"{name} in {kind} of {pid} {status['Name'].strip()}")
        if set(status["Uid"].split()) != {"101"} or status["CapEff"].strip() != "0" * 16 or status["NoNewPrivs"].strip() != "1":
            print(f"{pid} {status['Name'].strip()}: uid {status['Uid'].split()}, capabilities {status['CapEff']}")
    except (FileNotFoundError, ProcessLookupError):
        pass
    except PermissionError:  # about to end, or it hides something
        deadline = time.monotonic() + 5
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if alive(pid):
            print(f"{pid} {status['Name'].strip()} does not show itself: {status['State']}")
"""


def test_processes(target: Member) -> None:
    """No secret in the command line or the environment of any process, PID 1 included; none is root or has a capability."""
    assert inside(target, PROCESSES, secrets(target)) == ""


FILES = """
import json, os, stat, sys
secrets = {name: value.encode() for name, value in json.load(sys.stdin).items()}
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [one for one in folders if one not in ("proc", "sys")]
    for file in files:
        path = os.path.join(folder, file)
        try:
            state = os.lstat(path)
            if not stat.S_ISREG(state.st_mode):
                continue
            if state.st_mode & 0o6000:
                print(json.dumps([path, state.st_mode, state.st_uid, "runs as somebody else"]))
            content = open(path, "rb").read()
        except OSError:
            continue  # gone meanwhile, or nothing that our user could read
        for name, secret in secrets.items():
            if secret in content:
                print(json.dumps([path, stat.S_IMODE(state.st_mode), state.st_uid, name]))
"""
KEEPERS = {  # the files that hold secrets, and have to
    "/run/spilo/patroni.yml",
    "/run/spilo/steward.json",
    "/run/spilo/supervisord.conf",
    "/run/spilo/pgpass",
    "/run/spilo/tls/authority.key",
    f"{VOLUME}/pgroot/credentials/cluster-secret",
}


def test_files(target: Member) -> None:
    """In the whole container, volume included, secrets stand in a handful of files, 0600 and our own; nothing is setuid."""
    found = [json.loads(line) for line in inside(target, FILES, secrets(target)).splitlines()]
    assert {path for path, *_ in found} <= KEEPERS, found
    assert all((mode, owner) == (0o600, 101) for _, mode, owner, _ in found), found
    assert {"/run/spilo/patroni.yml", "/run/spilo/tls/authority.key"} <= {path for path, *_ in found}, (
        "the search finds what is there"
    )


WRITABLE = """
import os, sys
allowed = ("/run", "/tmp", "/home/postgres/pgdata", "/proc", "/sys", "/dev")
for folder, folders, files in os.walk("/"):
    folders[:] = [one for one in folders if not os.path.join(folder, one).startswith(allowed)]
    for path in [folder, *(os.path.join(folder, file) for file in files)]:
        if os.access(path, os.W_OK) and not os.path.islink(path):
            print(path)
"""


def test_read_only(target: Member) -> None:
    """With --read-only nothing can be written but /run, /tmp and the volume, and all works."""
    assert inside(target, WRITABLE) == ""
    assert target.health() == "healthy"


def test_logs(target: Member) -> None:
    """Neither the container's log nor what `spilo logs` shows has a secret."""
    assert not leaks(target, target.logs())
    assert not leaks(target, target.sh("cat /run/spilo/log/*"))


def test_what_postgresql_knows(target: Member) -> None:
    """Not in a setting, not in the statistics, not in what runs, for superusers either."""
    for query in (
        "SELECT name, setting, reset_val, boot_val FROM pg_settings",
        "SELECT name, setting FROM pg_file_settings",
        "SELECT query FROM pg_stat_statements",
        "SELECT query, application_name FROM pg_stat_activity",
        "SELECT conninfo FROM pg_stat_wal_receiver",
        "SELECT rolname, rolpassword FROM pg_authid",
        "SELECT * FROM pg_hba_file_rules",
    ):
        text = target.psql(query)
        assert not leaks(target, text), query


def test_what_an_administrator_may_not(target: Member) -> None:
    """The role for people reads no file, runs no program, sees no password verifier, and becomes no superuser."""
    password = target.env.get("PGPASSWORD_ADMIN", target.identity.password("admin"))
    connection = psycopg2.connect(target.identity.dsn(target.client, "admin", password=password))
    connection.autocommit = True
    with connection.cursor() as cursor:
        for forbidden in (
            "SELECT rolpassword FROM pg_authid",
            "SELECT pg_read_file('/run/spilo/patroni.yml')",
            "SELECT pg_ls_dir('/run/spilo')",
            "COPY (SELECT 1) TO PROGRAM 'id'",
            "CREATE TEMP TABLE t AS SELECT lo_import('/run/spilo/patroni.yml')",
            "ALTER SYSTEM SET archive_command = 'id'",
            "SET ROLE postgres",
            "ALTER ROLE postgres PASSWORD 'x'",
            "ALTER ROLE standby PASSWORD 'x'",
            "CREATE ROLE x SUPERUSER",
            "CREATE EXTENSION plperlu",
            "CREATE EXTENSION adminpack",
        ):
            with pytest.raises(psycopg2.Error):
                cursor.execute(forbidden)
    connection.close()
