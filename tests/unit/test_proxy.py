"""The local etcd proxy: which servers it finds, and what it tells HAProxy."""

from __future__ import annotations

import dataclasses
import re

import pytest

from runtime.proxy.discover import Server, Unresolved, find
from runtime.proxy.haproxy import Spec, render

SPEC = Spec(2379, "/t/authority.crt", "/t/node.crt", "/etc/ca.crt", None, None)
SERVERS = [Server("192.0.2.1", 2379, "a.example.com"), Server("2001:db8::1", 4001, "")]


def servers(text: str) -> list[str]:
    """The lines about servers."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith("server ")]


def test_literal_addresses() -> None:
    """Addresses need no DNS; they come sorted, once each, and without a name to verify."""
    asked = [("192.0.2.2", 2379), ("192.0.2.1", 2379), ("192.0.2.1", 2379), ("2001:db8::1", 1)]
    assert find(None, asked, "https") == ("https", [Server("192.0.2.1", 2379, ""), Server("192.0.2.2", 2379, ""),
                                                    Server("2001:db8::1", 1, "")])


def test_protocol() -> None:
    """Without a protocol it is http."""
    assert find(None, [("192.0.2.1", 1)], None)[0] == "http"


def test_nothing_to_find() -> None:
    """No endpoint at all is said to be so."""
    with pytest.raises(Unresolved, match="no etcd endpoint is given"):
        find(None, [], None)


def test_plain() -> None:
    """Without TLS towards etcd, a server line has an address, in brackets where it is IPv6, and nothing else."""
    assert servers(render(SPEC, "http", SERVERS)) == ["server etcd1 192.0.2.1:2379 check",
                                                      "server etcd2 [2001:db8::1]:4001 check"]


def test_tls() -> None:
    """With TLS towards etcd, the certificate is verified, by name where there is one, in the health check too."""
    first, second = servers(render(SPEC, "https", SERVERS))
    assert first == ("server etcd1 192.0.2.1:2379 check ssl verify required ca-file /etc/ca.crt "
                     "sni str(a.example.com) verifyhost a.example.com check-sni a.example.com")
    assert second == "server etcd2 [2001:db8::1]:4001 check ssl verify required ca-file /etc/ca.crt"


def test_given_certificates() -> None:
    """A given authority replaces the system's, and a given certificate is shown to etcd."""
    spec = dataclasses.replace(SPEC, authority="/c/ca.crt", certificate="/c/client.pem")
    for line in servers(render(spec, "https", SERVERS)):
        assert "verify required ca-file /c/ca.crt" in line
        assert line.endswith("crt /c/client.pem")
    assert servers(render(spec, "http", SERVERS)) == servers(render(SPEC, "http", SERVERS))


def test_local_side() -> None:
    """The proxy listens on loopback only, and lets in who has a certificate of the cluster's authority."""
    binds = re.findall(r"^\s*bind (.*)$", render(SPEC, "http", SERVERS), re.MULTILINE)
    assert binds == ["127.0.0.1:2379 ssl crt /t/node.crt ca-file /t/authority.crt verify required"]


def test_dead_servers() -> None:
    """A member that is out of reach, or without a leader, loses its sessions, and another one takes over."""
    text = render(SPEC, "http", SERVERS)
    assert "on-marked-down shutdown-sessions" in text
    assert "http-check send meth GET uri /health" in text
    assert 'http-check expect rstring \'"health": *"?true\'' in text


def test_pure() -> None:
    """The same servers give the same text, so that HAProxy is reloaded only for a reason."""
    assert render(SPEC, "https", SERVERS) == render(SPEC, "https", list(SERVERS))
    assert render(SPEC, "https", SERVERS[:1]) != render(SPEC, "https", SERVERS)
