"""Where the etcd members are: from names and SRV records to addresses. Asked again and again while running."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

# In this order; the design's `_etcd-server` names peers, whose clients' port is etcd's usual one.
RECORDS = (("_etcd-client-ssl", "https", None), ("_etcd-client", "http", None),
           ("_etcd-server-ssl", "https", 2379), ("_etcd-server", "http", 2379))


class Unresolved(Exception):
    """No address was found; the text says which names were asked for."""


@dataclass(frozen=True, order=True)
class Server:
    """One etcd member: `address` to connect to, `name` to verify its certificate against ("" for a bare address)."""

    address: str
    port: int
    name: str


def addresses(host: str, port: int) -> list[Server]:
    """A server for each address of `host`; raises Unresolved."""
    try:
        ipaddress.ip_address(host)
        return [Server(host, port, "")]
    except ValueError:
        pass
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise Unresolved(f"{host}: {error.strerror or error}") from None
    return [Server(address, port, host) for address in found]


def records(domain: str) -> tuple[str, list[tuple[str, int]]]:
    """Protocol and (host, port) of the first kind of SRV record that `domain` has; raises Unresolved."""
    import dns.exception
    import dns.resolver

    tried = []
    for service, protocol, port in RECORDS:
        name = f"{service}._tcp.{domain}"
        try:
            answer = dns.resolver.resolve(name, "SRV", lifetime=3)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            tried.append(f"{name}: no such record")
            continue
        except dns.exception.DNSException as error:
            # No answer is not "no such record": a lesser kind of record must not be taken for it.
            raise Unresolved(f"{name}: {str(error) or type(error).__name__}") from None
        return protocol, [(str(one.target).rstrip("."), port or one.port) for one in answer]
    raise Unresolved("; ".join(tried))


def find(domain: str | None, endpoints: list[tuple[str, int]], protocol: str | None) -> tuple[str, list[Server]]:
    """Protocol and servers, sorted; raises Unresolved when not one address is found.

    A name that does not resolve while others do is left out: its server is as good as down.
    """
    spoken = protocol or "http"
    if domain:
        recorded, endpoints = records(domain)
        spoken = protocol or recorded
    servers: set[Server] = set()
    failures = []
    for host, port in endpoints:
        try:
            servers.update(addresses(host, port))
        except Unresolved as error:
            failures.append(str(error))
    if not servers:
        raise Unresolved("; ".join(failures) or "no etcd endpoint is given")
    return spoken, sorted(servers)
