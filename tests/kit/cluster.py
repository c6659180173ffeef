"""A cluster as a person would run it: etcd members, members of the appliance, two networks, one secret."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import psycopg2.extensions

from bootstrap import derive
from bootstrap.kinds import Secret
from runtime.authority import authority
from tests.kit.eventually import eventually
from tests.kit.node import Etcd, Member
from tests.kit.world import World

USERS = {"superuser": "postgres", "standby": "standby", "admin": "admin"}


class Identity:
    """What follows from a cluster's secret: passwords, and the certificate authority (a file, to verify servers)."""

    def __init__(self, scope: str, secret: str) -> None:
        self.scope, self.secret = scope, secret
        certificate, _ = authority(derive.authority_seed(Secret(secret), scope), scope)
        handle, self.authority = tempfile.mkstemp(prefix="authority-", suffix=".crt")
        with os.fdopen(handle, "wb") as file:
            file.write(certificate)

    def password(self, role: str) -> str:
        """Derived password of superuser, standby, admin or restapi."""
        return derive.password(Secret(self.secret), self.scope, role).reveal()

    def dsn(self, host: str, role: str = "superuser", **more: object) -> str:
        """Connection string; `more` adds or replaces libpq parameters."""
        parameters: dict[str, object] = {
            "host": host, "port": 5432, "user": USERS[role], "password": self.password(role), "dbname": "postgres",
            "sslmode": "verify-full", "sslrootcert": self.authority, "connect_timeout": 2, "tcp_user_timeout": 3000,
            "application_name": "kit", **more,
        }
        return str(psycopg2.extensions.make_dsn(**parameters))


class Cluster:
    """`etcds` etcd members e1.. and `members` members n1.. in a World of their own.

    Two networks: `inner` carries the cluster's own traffic (etcd, replication, Patroni), `outer` the clients', so that
    a member that is cut off from its cluster can still be reached, and asked to write, by a client.

    `with Cluster() as cluster: cluster.start()`; `env` is given to every member beside what makes it one.
    `primary()` and `replicas()` ask Patroni; `healthy()` waits until all is as it should be.
    """

    def __init__(self, *, members: int = 3, etcds: int = 3, env: Mapping[str, str] | None = None, scope: str = "demo",
                 world: World | None = None, options: tuple[str, ...] = ()) -> None:
        self.world = world or World()
        self.quorum = (env or {}).get("DURABILITY") != "async"
        self.identity = Identity(scope, secrets.token_hex(16))
        try:
            self.inner = self.world.network("inner")
            self.outer = self.world.network("outer", internal=True)
            peers = {f"e{i}": self.inner.address(10 + i) for i in range(1, etcds + 1)}
            self.etcds = [Etcd(self.world, name, peers, self.inner) for name in peers]
            self.members = [self._member(i, options, {
                "SCOPE": scope,
                "ETCD_HOSTS": ",".join(f"{name}:2379" for name in peers),
                "CLUSTER_SECRET": self.identity.secret,
                **(env or {}),
            }) for i in range(1, members + 1)]
        except BaseException:
            self.world.close()
            raise

    def _member(self, index: int, options: tuple[str, ...], env: dict[str, str]) -> Member:
        client = self.outer.address(20 + index)
        return Member(self.world, f"n{index}", self.identity, env={"SSL_NAMES": client, **env}, options=options,
                      places=[(self.inner, self.inner.address(20 + index)), (self.outer, client)])

    def start(self, within: float = 120) -> None:
        """Start everything and wait until it is healthy."""
        for node in (*self.etcds, *self.members):
            node.start()
        self.healthy(within)

    def restore(self) -> None:
        """Undo every fault: unpause, reconnect and start whatever needs it. Does not wait."""
        for node in (*self.etcds, *self.members):
            node.restore()

    def by_name(self, short: str) -> Member:
        return next(member for member in self.members if member.short == short)

    # What it is like

    def view(self) -> dict[str, dict[str, Any]]:
        """Patroni's list of members by name (role, state, timeline, lag, ...), from the first member that answers."""
        for member in self.members:
            try:
                status, answer = member.api("/cluster", timeout=2)
            except OSError:
                continue
            if status == 200:
                return {one["name"]: one for one in answer["members"]}
        return {}

    def leader(self) -> Member | None:
        """The member that says of itself that it is primary and holds the lease, None while there is none."""
        for member in self.members:
            try:
                if member.api("/primary", timeout=2)[0] == 200:
                    return member
            except OSError:
                continue
        return None

    def primary(self, within: float = 60, other_than: Member | None = None) -> Member:
        """The primary, waiting for there to be one (`other_than`: for another one to be it)."""
        def found() -> Member | None:
            member = self.leader()
            return None if member is other_than else member

        said = "there is a primary" + (f" other than {other_than.short}" if other_than else "")
        return eventually(said, found, within)  # type: ignore[return-value]

    def replicas(self) -> list[Member]:
        """Every member but the primary."""
        primary = self.primary()
        return [member for member in self.members if member is not primary]

    def etcd_leader(self, within: float = 30) -> Etcd:
        """The etcd member that leads etcd."""
        def found() -> Etcd | None:
            for one in self.etcds:
                try:
                    if one.leading():
                        return one
                except OSError:
                    continue
            return None

        return eventually("etcd has a leader", found, within)  # type: ignore[return-value]

    def trouble(self) -> str:
        """What is not as it should be, "" when nothing is.

        All members running on one timeline, one of them primary, the others streaming from it and candidates for the
        next quorum; every etcd member following a leader.
        """
        view = self.view()
        if set(view) != {member.short for member in self.members}:
            return f"Patroni lists {sorted(view) or 'nobody'}"
        follower, state = ("quorum_standby", "quorum") if self.quorum else ("replica", "async")
        for name, one in view.items():
            want = ("running",) if one["role"] == "leader" else ("streaming",)
            if one["state"] not in want or one["role"] not in ("leader", follower):
                return f"{name} is {one['role']} {one['state']}"
        if len({one.get("timeline") for one in view.values()}) != 1:
            return f"timelines differ: { {name: one.get('timeline') for name, one in view.items()} }"
        primary = self.leader()
        if primary is None:
            return "no primary"
        counted = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = %s"
        streaming = primary.query(counted, state)[0][0]
        if streaming != len(self.members) - 1:
            return f"{streaming} replicas stream in the quorum"
        silent = [one.short for one in self.etcds if "errors" in one.status()]
        return f"etcd members without a leader: {silent}" if silent else ""

    def healthy(self, within: float = 120) -> None:
        """Wait until there is no `trouble()`."""
        seen = ""

        def sound() -> bool:
            nonlocal seen
            seen = "a member or an etcd does not answer"
            seen = self.trouble()
            return not seen

        try:
            eventually("the cluster is healthy", sound, within, every=0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}; {seen}; Patroni's view: {self.view()}") from None

    # What is done to it

    def switchover(self, to: Member | None = None) -> tuple[int, Any]:
        """Ask the primary for a switchover through the REST interface, with the password; (status, answer)."""
        primary = self.primary()
        body = {"leader": primary.short, **({"candidate": to.short} if to else {})}
        return primary.api("/switchover", "POST", body, timeout=60)

    def close(self) -> None:
        self.world.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
