"""The local etcd proxy: a dead or silent etcd member costs a moment, and it follows the names that it was given."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dns.resolver
import psutil  # type: ignore[import-untyped]
import pytest

from runtime import etcd as etcd_client
from runtime import proxy
from runtime.authority import authority, issue
from runtime.proxy import discover
from runtime.proxy.__main__ import Proxy
from tests.component.servers import Dns, Etcd, etcd_cluster
from tests.component.support import Process, eventually, port, running

DOMAIN = "example.org"


class Local:
    """The node's side of a proxy: folders, certificates, the specification, clients."""

    def __init__(self, place: Path, **given: Any) -> None:
        tls = place / "tls"
        tls.mkdir()
        (place / "last-words").mkdir()
        certificate, key = authority(bytes(range(48)), "test")
        (tls / "authority.crt").write_bytes(certificate)
        for path, content in zip(
            (tls / "node.crt", tls / "node.key"),
            issue(certificate, key, ("127.0.0.1",), datetime.datetime.now(datetime.UTC)),
            strict=True,
        ):
            path.write_bytes(content)
        self.port = port()
        self.spec = {
            "listen": self.port,
            "domain": None,
            "endpoints": [],
            "protocol": None,
            "authority": None,
            "certificate": None,
            "key": None,
            "trusted": str(tls / "authority.crt"),
            "own": str(tls / "node.crt"),
            "run": str(place),
            **given,
        }
        self.section = {
            "protocol": "https",
            "host": f"127.0.0.1:{self.port}",
            "cacert": self.spec["trusted"],
            "cert": self.spec["own"],
            "key": str(tls / "node.key"),
        }
        (place / "proxy.json").write_text(json.dumps(self.spec))
        command = list(proxy.command(str(place / "proxy.json")))
        command[0] = sys.executable
        self.process = Process("proxy", command, place)

    def client(self) -> etcd_client.Etcd:
        """A client with a connection of its own."""
        return etcd_client.Etcd(self.section)

    def value(self, key: str) -> str | None:
        try:
            return self.client().get(key)
        except etcd_client.Unreachable:
            return None


class Writer:
    """A client that puts one value after the other, and remembers when it was last successful."""

    def __init__(self, local: Local) -> None:
        self.client, self.stopping, self.moments = local.client(), threading.Event(), [time.monotonic()]
        self.thread = threading.Thread(target=self._write, daemon=True)
        self.thread.start()

    def _write(self) -> None:
        body = {"key": base64.b64encode(b"key").decode(), "value": base64.b64encode(b"value").decode()}
        while not self.stopping.is_set():
            with contextlib.suppress(etcd_client.Unreachable):
                self.client.call("/kv/put", body)
                self.moments.append(time.monotonic())
            self.stopping.wait(0.01)

    def gap(self) -> float:
        """The longest time in seconds between two successes."""
        return max(after - before for before, after in zip(self.moments, self.moments[1:], strict=False))


def longest_gap(local: Local, victim: Etcd, number: signal.Signals) -> float:
    """What clients notice, one at each member, when a member gets a signal; they must go on for another second."""
    writers = [Writer(local) for _ in range(3)]
    try:
        eventually(lambda: all(len(one.moments) > 20 for one in writers), 20, "all clients write")
        for one in writers:
            one.moments = one.moments[-1:]
        moment = time.monotonic()
        victim.signal(number)
        eventually(lambda: all(one.moments[-1] > moment + 4 for one in writers), 40, "all clients write again")
    finally:
        for one in writers:
            one.stopping.set()
    return max(one.gap() for one in writers)


def leads(server: Etcd) -> bool:
    """Whether this member is the leader of its cluster."""
    status = json.loads(server.ctl("endpoint", "status", "-w", "json"))[0]["Status"]
    return bool(status["leader"] == status["header"]["member_id"])


@pytest.fixture
def three(place: Path) -> Iterator[tuple[Local, list[Etcd]]]:
    """Three etcd members and a running proxy in front of them, that has found each of them healthy."""
    servers = etcd_cluster(place)
    local = Local(place, endpoints=[["127.0.0.1", one.port] for one in servers])
    with running(local.process, *servers):
        local.process.start()
        eventually(
            lambda: local.value("nothing") is None and all(reaches(local, one) for one in servers),
            20,
            "the proxy uses all members",
        )
        yield local, servers


def reaches(local: Local, server: Etcd) -> bool:
    """Whether HAProxy holds, or has held, a session to this member for a client."""
    with contextlib.suppress(etcd_client.Unreachable):
        member = local.client().call("/maintenance/status", {})["header"]["member_id"]
        return bool(
            member
            == str(json.loads(server.ctl("endpoint", "status", "-w", "json"))[0]["Status"]["header"]["member_id"])
        )
    return False


@pytest.mark.parametrize(
    ("number", "leader", "bound"),
    [
        # The product's goals for a member that does not lead are 0.5 s and 2 s; a lost leader costs etcd an election on top.
        (signal.SIGKILL, False, 1.5),
        (signal.SIGSTOP, False, 6),
        (signal.SIGKILL, True, 6),
        (signal.SIGSTOP, True, 9),
    ],
    ids=["killed", "silent", "leader killed", "leader silent"],
)
def test_a_lost_member_costs_a_moment(
    three: tuple[Local, list[Etcd]], number: signal.Signals, leader: bool, bound: float
) -> None:
    """One of three members is killed, or stops answering: clients go on through the others."""
    local, servers = three
    victim = next(one for one in servers if leads(one) is leader)
    gap = longest_gap(local, victim, number)
    print(f"\netcd {'leader' if leader else 'follower'} {number.name}: longest gap {gap:.2f} s")
    assert gap < bound
    assert local.process.running


def test_a_member_that_comes_back_is_used_again(three: tuple[Local, list[Etcd]]) -> None:
    """Silent for a while, then there again: it gets its share."""
    local, servers = three
    victim = next(one for one in servers if not leads(one))
    victim.signal(signal.SIGSTOP)
    eventually(
        lambda: [local.value("nothing") for _ in range(3)] == [None] * 3 and writes(local), 10, "the others serve"
    )
    victim.signal(signal.SIGCONT)
    eventually(lambda: reaches(local, victim), 20, "the member is used again")


def writes(local: Local) -> bool:
    """Whether a client gets a value through."""
    with contextlib.suppress(etcd_client.Unreachable):
        local.client().call("/kv/put", {"key": "eA==", "value": "eA=="})
        return True
    return False


def test_nobody_without_the_certificate(three: tuple[Local, list[Etcd]]) -> None:
    """Other users of the machine, which with host networking reach the port, do not get into etcd."""
    local, _ = three
    with pytest.raises(etcd_client.Unreachable):
        etcd_client.Etcd({**local.section, "cert": None, "key": None}).get("key")
    with pytest.raises(etcd_client.Unreachable):
        etcd_client.Etcd({**local.section, "protocol": "http"}).get("key")


def test_haproxy_ends_with_its_keeper(three: tuple[Local, list[Etcd]]) -> None:
    """Killed without a chance to clean up, the keeper leaves no HAProxy behind that serves a view of the past."""
    local, _ = three
    family = local.process.below()
    assert [one for one in family if one.name() == "haproxy"]
    local.process.signal(signal.SIGKILL)
    local.process.wait(5)
    try:
        eventually(
            lambda: not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE],
            10,
            "HAProxy has ended too",
        )
    finally:
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
                one.kill()
                os.waitpid(one.pid, 0)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dns]:
    """A DNS server, which our process asks."""
    server = Dns()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], server.port
    monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("service", "protocol", "number"),
    [
        ("_etcd-client-ssl", "https", 4001),
        ("_etcd-client", "http", 4001),
        ("_etcd-server-ssl", "https", 2379),
        ("_etcd-server", "http", 2379),
    ],
)
def test_srv_records_in_their_order(names: Dns, service: str, protocol: str, number: int) -> None:
    """The first kind that exists counts, whatever comes after it; a server's record names the peer port, which is not ours."""
    kinds = [kind for kind, _, _ in discover.RECORDS]
    for kind in kinds[kinds.index(service) :]:
        names.zone[f"{kind}._tcp.{DOMAIN}", "SRV"] = [
            f"1 1 4001 {kind[1:]}-a.{DOMAIN}.",
            f"1 1 4001 {kind[1:]}-b.{DOMAIN}.",
        ]
    found, endpoints = discover.records(DOMAIN)
    assert (found, sorted(endpoints)) == (
        protocol,
        [(f"{service[1:]}-a.{DOMAIN}", number), (f"{service[1:]}-b.{DOMAIN}", number)],
    )
    assert [name for name, _ in names.asked] == [f"{kind}._tcp.{DOMAIN}" for kind in kinds[: kinds.index(service) + 1]]


def test_a_name_without_srv_is_no_such_record(names: Dns) -> None:
    """A name that exists with other records only is passed over like one that does not; nothing at all is said by name."""
    names.zone[f"_etcd-client-ssl._tcp.{DOMAIN}", "TXT"] = ['"x"']
    names.zone[f"_etcd-client._tcp.{DOMAIN}", "SRV"] = [f"1 1 1 a.{DOMAIN}."]
    assert discover.records(DOMAIN) == ("http", [(f"a.{DOMAIN}", 1)])
    names.zone.clear()
    with pytest.raises(discover.Unresolved) as raised:
        discover.records(DOMAIN)
    assert all(kind in str(raised.value) for kind, _, _ in discover.RECORDS)


@pytest.mark.parametrize("broken", ["servfail", "silent"])
def test_no_answer_is_not_no_record(names: Dns, broken: str) -> None:
    """While the best kind of record cannot be asked for, a lesser kind (here without TLS) is not taken for it."""
    names.zone[f"_etcd-client._tcp.{DOMAIN}", "SRV"] = [f"1 1 4001 a.{DOMAIN}."]
    names.broken[f"_etcd-client-ssl._tcp.{DOMAIN}", "SRV"] = broken
    before = time.monotonic()
    with pytest.raises(discover.Unresolved, match="_etcd-client-ssl"):
        discover.records(DOMAIN)
    assert time.monotonic() - before < 5
    assert {name for name, _ in names.asked} == {f"_etcd-client-ssl._tcp.{DOMAIN}"}


def followed(keeper: Proxy, local: Local, server: Etcd) -> bool:
    """Whether clients reach this server, after the keeper has had another look at what is to be loaded."""
    keeper.apply()
    return local.value("who") == server.name


def test_records_that_change_are_followed(names: Dns, place: Path) -> None:
    """The servers behind the record change while clients are there: they get to the new one. While DNS is broken, what
    is known stays."""
    servers = [Etcd("first", place), Etcd("second", place)]
    local = Local(place, domain=DOMAIN)
    keeper = Proxy(local.spec)
    record = (f"_etcd-client._tcp.{DOMAIN}", "SRV")
    with running(*servers):
        for one in servers:
            one.start()
        for one in servers:
            one.until_healthy()
            one.ctl("put", "who", one.name)
        try:
            keeper.look()
            keeper.apply()
            assert keeper.process is None, "without a record there is nothing to start"
            for one in servers:
                names.broken.clear()
                names.zone[record] = [f"1 1 {one.port} localhost."]
                keeper.look()
                eventually(partial(followed, keeper, local, one), 15, f"clients reach {one.name}")
                names.broken[record] = "servfail"
                keeper.look()
                keeper.apply()
                eventually(partial(followed, keeper, local, one), 5, f"clients still reach {one.name}")
        finally:
            if keeper.process:
                keeper.process.terminate()
                keeper.process.wait(10)
