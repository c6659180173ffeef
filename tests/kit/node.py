"""One container: what it is started with, and everything that can be done to it."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psycopg2
import psycopg2.extensions

from tests.kit import engine
from tests.kit.engine import EngineError, docker
from tests.kit.eventually import eventually
from tests.kit.world import Network, World

if TYPE_CHECKING:
    from tests.kit.cluster import Identity

VOLUME = "/home/postgres/pgdata"
DATA = f"{VOLUME}/pgroot/data"


class Container:
    """A container with a static address in each of its networks (`places`; the first is where cluster traffic goes).

    `short` is its host name; its name in the engine is unique. `mounts` are values of `-v`, `options` more arguments
    of `docker create`. Nothing exists before `start()`.
    """

    def __init__(self, world: World, short: str, *, image: str | None = None, command: Sequence[str] = (),
                 env: Mapping[str, str] | None = None, mounts: Sequence[str] = (),
                 places: Sequence[tuple[Network, str]] = (), options: Sequence[str] = ()) -> None:
        self.world, self.short, self.name = world, short, world.name(short)
        self.image = image or engine.IMAGE
        self.command, self.env = tuple(command), dict(env or {})
        self.mounts, self.places, self.options = tuple(mounts), tuple(places), tuple(options)
        self.generation = 0
        self.away: set[str] = set()  # networks that it was cut off from
        self.blocked = False
        world.containers.append(self)

    # What it is

    def exists(self) -> bool:
        return engine.run("container", "inspect", "--format", "x", self.name).returncode == 0

    def state(self) -> dict[str, Any]:
        """The engine's view: Status, ExitCode, Health, ...; raises EngineError when the container is not there."""
        found: dict[str, Any] = engine.inspect(self.name)["State"]
        return found

    def running(self) -> bool:
        return self.exists() and bool(self.state()["Running"])

    def health(self) -> str:
        """What HEALTHCHECK says: starting, healthy, unhealthy."""
        return str(self.state().get("Health", {}).get("Status", "none"))

    def exit_code(self, within: float = 60) -> int:
        """The exit code once the container has ended, which must be within so many seconds."""
        eventually(f"{self.short} has ended", lambda: self.state()["Status"] == "exited", within)
        return int(self.state()["ExitCode"])

    def logs(self) -> str:
        """Everything it has logged since it was created, standard output and error in order."""
        return engine.run("logs", self.name, merged=True).stdout

    def logged(self, text: str) -> bool:
        return text in self.logs()

    def address(self, place: int = 0) -> str:
        """Its static address in the n-th of its networks."""
        return self.places[place][1]

    # Its life

    def create(self) -> None:
        """Create the container without starting it."""
        arguments = ["create", "--name", self.name, "--hostname", self.short, *self.world.labels]
        for key, value in self.env.items():
            arguments += ["-e", f"{key}={value}"]
        for mount in self.mounts:
            arguments += ["-v", mount]
        if self.places:
            network, address = self.places[0]
            arguments += ["--network", network.name, "--ip", address, "--network-alias", self.short]
        docker(*arguments, *self.options, self.image, *self.command)
        for network, address in self.places[1:]:
            docker("network", "connect", "--ip", address, network.name, self.name)
        self.generation += 1
        self.away, self.blocked = set(), False

    def start(self) -> None:
        """Start it; create it first where it is not there. Does not wait for anything."""
        if not self.exists():
            self.create()
        docker("start", self.name)

    def stop(self, timeout: int = 60) -> int:
        """SIGTERM and, after `timeout` seconds, SIGKILL, as `docker stop` does; the exit code (137 after a SIGKILL)."""
        docker("stop", "-t", str(timeout), self.name, timeout=timeout + 30)
        return int(self.state()["ExitCode"])

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal to PID 1; KILL ends the whole container at once, like a power cut for its processes."""
        docker("kill", "--signal", signal, self.name)

    def restart(self, timeout: int = 60) -> None:
        docker("restart", "-t", str(timeout), self.name, timeout=timeout + 60)

    def pause(self) -> None:
        """Freeze every process; the kernel goes on accepting connections, so that peers and clients hang."""
        docker("pause", self.name)

    def unpause(self) -> None:
        docker("unpause", self.name)

    def cut(self, place: int = 0) -> None:
        """Take it off its n-th network: silence for everybody there. Its other networks still reach it."""
        network, _ = self.places[place]
        docker("network", "disconnect", network.name, self.name)
        self.away.add(network.name)

    def heal(self) -> None:
        """Back on every network that it was cut off from, at the same address."""
        for index, (network, address) in enumerate(self.places):
            if network.name in self.away:
                alias = ("--alias", self.short) if index == 0 else ()
                docker("network", "connect", "--ip", address, *alias, network.name, self.name)
        self.away = set()

    def block(self, others: Sequence[Container], how: str = "DROP") -> None:
        """No packet from here to these containers or back: DROP is silence, REJECT an error at once. See `unblock`.

        It is done from a container with the same network, because the appliance has no right to (and no iptables).
        """
        rules = []
        for other in others:
            for address in (address for _, address in other.places):
                rules += [f"iptables -I OUTPUT -d {address} -j {how}", f"iptables -I INPUT -s {address} -j {how}"]
        self._iptables(" && ".join(rules))
        self.blocked = True

    def unblock(self) -> None:
        self._iptables("iptables -F")
        self.blocked = False

    def _iptables(self, script: str) -> None:
        tools = engine.inspect(engine.own_container() or "spilo-test")["Image"]
        docker("run", "--rm", "--no-healthcheck", *self.world.labels, "--network", f"container:{self.name}",
               "--user", "0", "--cap-add", "NET_ADMIN", "--entrypoint", "sh", tools, "-ec", script)

    def rm(self) -> None:
        """Remove the container, not its named volumes. Its log is remembered."""
        if self.exists():
            self.world.kept[f"{self.short}.{self.generation}"] = self.logs()
            docker("rm", "-fv", self.name)

    def replace(self, env: Mapping[str, str | None] | None = None, timeout: int = 60) -> None:
        """Stop and remove it, start another on the same volumes; `env` changes its environment (None unsets)."""
        if self.running():
            self.stop(timeout)
        self.rm()
        for key, value in (env or {}).items():
            if value is None:
                self.env.pop(key, None)
            else:
                self.env[key] = value
        self.start()

    def restore(self) -> None:
        """Undo whatever was done to it: unpause, reconnect, start."""
        if not self.exists():
            return self.start()
        if self.state()["Paused"]:
            self.unpause()
        if self.away:
            self.heal()
        if not self.running():
            self.start()
        elif self.blocked:
            self.unblock()
        return None

    # Inside it

    def exec(self, *command: str, user: str | None = None, timeout: float = 60) -> str:
        """Standard output of a command run inside; raises EngineError when it fails."""
        return docker("exec", *(("--user", user) if user else ()), self.name, *command, timeout=timeout)

    def sh(self, script: str, user: str | None = None, timeout: float = 60) -> str:
        """Standard output of a shell script run inside; raises EngineError when it fails."""
        return self.exec("sh", "-ec", script, user=user, timeout=timeout)

    def psql(self, query: str, database: str = "postgres") -> str:
        """Rows (unaligned, columns separated by |) of a query over the unix socket, as the superuser."""
        return self.exec("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "/run/postgresql", "-U", "postgres",
                         "-d", database, "-c", query)


class Etcd(Container):
    """A member of an etcd cluster, plain http, its data in the container (it survives stop, kill and start)."""

    def __init__(self, world: World, short: str, peers: Mapping[str, str], network: Network) -> None:
        ours = peers[short]
        super().__init__(world, short, places=[(network, ours)], options=["--no-healthcheck"], command=[
            "etcd", "--name", short, "--data-dir", "/tmp/etcd", "--logger", "zap", "--log-level", "warn",
            "--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", f"http://{ours}:2379",
            "--listen-peer-urls", "http://0.0.0.0:2380", "--initial-advertise-peer-urls", f"http://{ours}:2380",
            "--initial-cluster", ",".join(f"{name}=http://{address}:2380" for name, address in peers.items()),
            "--initial-cluster-state", "new", "--initial-cluster-token", world.id,
        ])

    def status(self) -> dict[str, Any]:
        """What this member says of itself (`leader`, `header.member_id`, ...); raises OSError when it is silent."""
        url = f"http://{self.address()}:2379/v3/maintenance/status"
        request = urllib.request.Request(url, data=b"{}", method="POST")
        with urllib.request.urlopen(request, timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def leading(self) -> bool:
        """Whether this member says that it is the leader of etcd itself."""
        status = self.status()
        return "errors" not in status and status.get("leader") == status["header"]["member_id"]


class Member(Container):
    """A member of the appliance on a volume of its own; `identity` knows the cluster's passwords and authority.

    Clients come over its last network (`client`), cluster traffic goes over the first.
    """

    def __init__(self, world: World, short: str, identity: Identity, *, env: Mapping[str, str] | None = None,
                 places: Sequence[tuple[Network, str]] = (), options: Sequence[str] = (), mounts: Sequence[str] = (),
                 image: str | None = None) -> None:
        self.identity = identity
        self.volume = world.volume(short)
        super().__init__(world, short, env=env, places=places, options=options, image=image,
                         mounts=[f"{self.volume}:{VOLUME}", *mounts])

    @property
    def client(self) -> str:
        """The address at which clients reach it."""
        return self.address(-1)

    def dsn(self, role: str = "superuser", **more: object) -> str:
        """Connection string for clients, certificate verified in full; `role` is superuser, standby or admin."""
        return self.identity.dsn(self.client, role, **more)

    def connect(self, role: str = "superuser", **more: object) -> psycopg2.extensions.connection:
        """A connection over TCP and TLS, in autocommit."""
        connection = psycopg2.connect(self.dsn(role, **more))
        connection.autocommit = True
        return connection

    def query(self, statement: str, *parameters: object, role: str = "superuser",
              **more: object) -> list[tuple[Any, ...]]:
        """Rows of one statement over a connection of its own ([] where it has none)."""
        connection = self.connect(role, **more)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def api(self, path: str, method: str = "GET", body: object = None, authorized: bool = True,
            timeout: float = 5) -> tuple[int, Any]:
        """(status, parsed answer or text) of Patroni's REST interface over TLS; raises OSError when it is silent."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://{self.client}:8008{path}", data=data, method=method)
        if authorized:
            login = f"patroni:{self.identity.password('restapi')}".encode()
            request.add_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
        context = ssl.create_default_context(cafile=self.identity.authority)
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def role(self) -> str | None:
        """`primary` or `replica` as Patroni says, None when it does not answer."""
        try:
            _, answer = self.api("/patroni", timeout=2)
        except OSError:
            return None
        return str(answer.get("role")) if isinstance(answer, dict) else None

    def lose_volume(self) -> None:
        """Remove the container and its volume; the next `start()` has an empty one."""
        self.rm()
        self.world.drop_volume(self.volume)
        self.volume = self.world.volume(self.short)


__all__ = ["DATA", "VOLUME", "Container", "EngineError", "Etcd", "Member"]
