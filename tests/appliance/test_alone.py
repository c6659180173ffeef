"""One container by itself: what a person meets first, and everything that it refuses to do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import psycopg2
import pytest

from tests.kit import engine, faults, timings
from tests.kit.cluster import Cluster, Identity
from tests.kit.eventually import eventually
from tests.kit.node import VOLUME, Container, Member
from tests.kit.world import Network, World

START = 60.0  # seconds for a container to be healthy
HARDENED = ("--read-only", "--tmpfs", "/run", "--tmpfs", "/tmp", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges")
SECRET = "a secret of more than sixteen characters"


@pytest.fixture
def network(engine_world: World) -> Network:
    return engine_world.network("net")


class Alone(Member):
    """A member alone, with a volume. Its identity is that of SECRET, or after `adopt()` of the secret that it made."""

    def __init__(self, world: World, network: Network, env: Mapping[str, str] | None = None,
                 options: Sequence[str] = (), mounts: Sequence[str] = ()) -> None:
        super().__init__(world, "one", Identity("spilo", SECRET), env=env, options=options, mounts=mounts,
                         places=[(network, network.address(10))])

    def healthy(self) -> None:
        eventually("the container is healthy", lambda: self.health() == "healthy", START)

    def writable(self) -> None:
        eventually("it takes writes", lambda: self.psql("SELECT pg_is_in_recovery()") == "f", START, every=0.05)

    def adopt(self) -> None:
        """Take over the secret that the member made for itself."""
        self.identity = Identity("spilo", self.exec("cat", f"{VOLUME}/pgroot/credentials/cluster-secret"))

    def admin_password(self) -> str:
        return self.exec("spilo", "password", "admin")


@pytest.fixture
def alone(engine_world: World, network: Network) -> Alone:
    """Started, and taking writes."""
    member = Alone(engine_world, network)
    member.create()
    begun = time.monotonic()
    member.start()
    member.writable()
    timings.note("a container alone, no setting", "docker start to first write", time.monotonic() - begun)
    member.adopt()
    # What is killed before this never was a cluster: Patroni removes it and begins again.
    eventually("the new cluster is whole", lambda: member.api("/primary")[0] == 200, START)
    return member


def test_nothing_but_docker_run(engine_world: World) -> None:
    """`docker run IMAGE` with nothing else is a healthy PostgreSQL that a person can use."""
    member = Container(engine_world, "plain")
    member.start()
    eventually("the container is healthy", lambda: member.health() == "healthy", START)
    assert member.psql("CREATE TABLE t AS SELECT 1 AS one; SELECT * FROM t") == "1"
    assert member.stop() == 0


def test_data_and_passwords_survive(alone: Alone) -> None:
    """`docker restart`, and a new container on the old volume: the same data, the same passwords."""
    alone.psql("CREATE TABLE t AS SELECT 42 AS answer")
    password = alone.admin_password()
    alone.healthy()

    alone.restart()
    alone.writable()
    assert alone.psql("SELECT answer FROM t") == "42"
    assert alone.admin_password() == password == alone.identity.password("admin")

    alone.replace()
    alone.writable()
    assert alone.psql("SELECT answer FROM t") == "42"
    assert alone.admin_password() == password
    assert alone.query("SELECT current_user", role="admin") == [("admin",)]


def test_changed_environment_takes_effect(alone: Alone) -> None:
    """A password and a port from the new environment; the old password no longer works."""
    old = alone.admin_password()
    alone.replace(env={"PGPASSWORD_ADMIN": "quite-new", "PGPORT": "5433"})

    def logged_in() -> bool:
        return alone.query("SELECT 1", role="admin", password="quite-new", port=5433) == [(1,)]

    eventually("the new password works on the new port", logged_in, START)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        alone.query("SELECT 1", role="admin", password=old, port=5433)
    alone.healthy()


def test_given_secret_gives_passwords_and_certificates(engine_world: World, network: Network) -> None:
    """Clients that know CLUSTER_SECRET know the passwords and can verify the server in full."""
    member = Alone(engine_world, network, env={"CLUSTER_SECRET": SECRET})
    member.start()
    member.healthy()
    for role in ("superuser", "admin"):
        assert member.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", role=role) == [(True,)]
    with pytest.raises(psycopg2.OperationalError, match="no encryption"):
        member.query("SELECT 1", sslmode="disable")
    eventually("Patroni says primary", lambda: member.api("/primary")[0] == 200, START)
    assert member.api("/config", "PATCH", {}, authorized=False)[0] == 401


def test_hardened_container(engine_world: World, network: Network) -> None:
    """Read-only, without capabilities or new privileges: it needs two tmpfs and the volume."""
    member = Alone(engine_world, network, options=HARDENED)
    member.start()
    member.healthy()
    assert member.psql("CREATE TABLE t AS SELECT 1 AS one; SELECT * FROM t") == "1"
    assert member.stop() == 0


def test_stop_is_clean(alone: Alone, engine_world: World) -> None:
    """`docker stop` shuts PostgreSQL down with a checkpoint, and the exit code is 0."""
    assert alone.stop() == 0
    control = engine_world.shell(alone.volume, "/usr/lib/postgresql/17/bin/pg_controldata /v/pgroot/data")
    assert re.search(r"cluster state: +shut down\n", control), control


def test_power_cut(alone: Alone) -> None:
    """After `docker kill` a new container recovers everything that was committed."""
    alone.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    alone.kill()
    alone.rm()
    begun = time.monotonic()
    alone.start()
    alone.writable()
    timings.note("a container alone, after docker kill", "docker start to first write", time.monotonic() - begun)
    assert alone.psql("SELECT count(*) FROM t") == "1000"
    alone.healthy()


def runs(member: Container, program: str) -> bool:
    return any(program in line for line in faults.processes(member))


def test_programs_that_crash_come_back(alone: Alone) -> None:
    """PostgreSQL, Patroni and etcd are started again; nothing committed is lost."""
    alone.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
    faults.kill_postmaster(alone)
    eventually("PostgreSQL is back", lambda: alone.psql("SELECT count(*) FROM t") == "1000", START)
    for program in ("runtime.patroni", "etcd --config-file", "runtime.steward"):
        faults.kill_program(alone, program)
        eventually(f"{program} is back", partial(runs, alone, program), START)
    eventually("Patroni says primary", lambda: alone.api("/primary")[0] == 200, START)
    assert alone.psql("SELECT count(*) FROM t") == "1000"
    alone.healthy()
    assert alone.stop() == 0


def test_wrong_configuration(engine_world: World, network: Network) -> None:
    """Every problem at once, exit code 3, nothing on the volume."""
    member = Alone(engine_world, network, env={
        "PGPORT": "many", "ALLOW_NOSSL": "maybe", "SSL_CERTIFICATE": "rubbish", "PGPASSWORD_ADMN": "x",
        "PGUSER_ADMIN": "postgres"})
    before = engine_world.fingerprint(member.volume)
    member.start()
    assert member.exit_code() == 3
    said = member.logs()
    for name in ("PGPORT", "ALLOW_NOSSL", "SSL_CERTIFICATE", "PGPASSWORD_ADMN", "PGUSER_ADMIN"):
        assert re.search(rf"\d\. .*{name}", said), said
    assert "did you mean PGPASSWORD_ADMIN" in said
    # Docker itself gives an empty volume the image's owner and mode.
    assert _names(engine_world.fingerprint(member.volume)) == _names(before)


def _names(fingerprint: str) -> list[str]:
    return [line.split()[0] for line in fingerprint.splitlines()]


def test_wrong_owner_of_the_volume(engine_world: World, network: Network) -> None:
    """A volume that belongs to somebody else: exit code 5, and the command in the log cures it."""
    member = Alone(engine_world, network)
    member.mounts = (f"{member.volume}:{VOLUME}:nocopy",)
    engine_world.shell(member.volume, "chown 0:0 . && chmod 0755 .")
    member.start()
    assert member.exit_code() == 5
    command = re.search(r"fix: +docker (run .*chown.*)", member.logs())
    assert command, member.logs()
    engine.docker(*command[1].replace("VOLUME", member.volume).replace("IMAGE", engine.IMAGE).split())
    member.start()
    member.healthy()


def refused(member: Member, reason: str, code: int = 5) -> None:
    """Start it: it ends with this code and reason, and every file on its volume is as it was."""
    before = member.world.fingerprint(member.volume)
    member.start()
    assert member.exit_code() == code, member.logs()
    assert reason in member.logs(), member.logs()
    after = member.world.fingerprint(member.volume)
    assert set(before.splitlines()) - set(after.splitlines()) == set()
    # The empty file that keeps two containers off one volume is all that may be new.
    new = {line for line in set(after.splitlines()) - set(before.splitlines()) if "pgroot/in-use" not in line}
    assert new == set()


def test_data_of_another_version(alone: Alone, engine_world: World) -> None:
    """Data of PostgreSQL 15 under an image with 17 is left alone."""
    alone.stop()
    engine_world.shell(alone.volume, "echo 15 >pgroot/data/PG_VERSION")
    refused(alone, "is of PostgreSQL 15, this image has 17")


def test_half_of_a_data_directory(alone: Alone, engine_world: World) -> None:
    """A data directory that is not whole is left alone: it could be all that somebody has."""
    alone.stop()
    engine_world.shell(alone.volume, "rm pgroot/data/global/pg_control")
    refused(alone, "neither empty nor a whole data directory")


def test_something_else_on_the_volume(engine_world: World, network: Network) -> None:
    """Files where the data directory would be are not overwritten."""
    member = Alone(engine_world, network)
    engine_world.shell(member.volume, "mkdir -p pgroot/data && echo precious >pgroot/data/diary && chown -R 101:103 .")
    refused(member, "neither empty nor a whole data directory")


@pytest.mark.parametrize("program", ["proxy", "governor", "etcd"])
def test_program_that_fails_for_good(engine_world: World, network: Network, program: str) -> None:
    """A program that cannot run ends the container, which says which one it was: exit code 7."""
    files = {"proxy": "/usr/sbin/haproxy", "etcd": "/usr/bin/etcd", "governor": "patroni/__main__.py"}
    env = {"CLUSTER_SECRET": SECRET}
    if program == "proxy":
        env |= {"SCOPE": "spilo", "ETCD_HOSTS": "192.0.2.1"}
    member = Alone(engine_world, network, env=env)
    member.create()
    with_false(member, files[program])
    member.start()
    assert member.exit_code(within=120) == 7
    assert re.search(rf"ERROR boot\[1\] {program} ", member.logs()), member.logs()[-2000:]


def with_false(member: Container, program: str) -> None:
    """Replace a program (or a file of Python's packages) in a container that was not started yet by `false`."""
    if not program.startswith("/"):
        packages = "import sysconfig; print(sysconfig.get_path('purelib'))"
        program = f"{member.world.run('python', '-c', packages)}/{program}"
    taken = engine.docker("create", *member.world.labels, member.image)
    engine.docker("cp", f"{taken}:/usr/bin/false", "/tmp/false")
    engine.docker("rm", "-v", taken)
    engine.docker("cp", "/tmp/false", f"{member.name}:{program}")


def test_root_is_refused(engine_world: World) -> None:
    """`--user root` is neither needed nor safe."""
    member = Container(engine_world, "root", options=["--user", "root"])
    member.start()
    assert member.exit_code() == 5
    assert "running as root" in member.logs()


@pytest.fixture
def two_clusters(engine_world: World) -> Iterator[Cluster]:
    """One member and one etcd, healthy."""
    with Cluster(members=1, etcds=1, scope="same") as made:
        made.start()
        yield made


def test_data_of_another_cluster(two_clusters: Cluster, network: Network, engine_world: World) -> None:
    """A volume with data of a cluster is not taken into another one of the same name: exit code 7, data unchanged."""
    member = two_clusters.members[0]
    stranger = Alone(engine_world, network, env={"SCOPE": "same", "CLUSTER_SECRET": two_clusters.identity.secret})
    stranger.start()
    stranger.writable()
    assert stranger.stop() == 0
    stranger.rm()
    stranger.env |= {"ETCD_HOSTS": "e1"}
    stranger.places = ((two_clusters.inner, two_clusters.inner.address(30)),)
    refused(stranger, "this data directory belongs to another cluster and is left alone", code=7)
    assert member.role() == "primary"


