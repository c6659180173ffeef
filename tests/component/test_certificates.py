"""Certificates are renewed, and given ones followed, without a restart of anything."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from runtime.authority import DAYS, RENEW_BELOW_DAYS, issue, write
from runtime.log import Log
from runtime.steward import certificates
from tests.component.servers import Authority, Etcd
from tests.component.support import Node, eventually, running

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"  # PostgreSQL's protocol, "SSLRequest"


def shown(node: Node, number: int, postgres: bool = False, trusted: str | None = None) -> x509.Certificate:
    """The certificate that a server of this member shows, verified."""
    context = ssl.create_default_context(cafile=trusted or node.trusted)
    context.load_cert_chain(node.run / "tls" / "node.crt", node.run / "tls" / "node.key")
    with socket.create_connection(("127.0.0.1", number), timeout=5) as plain:
        if postgres:
            plain.sendall(SSL_REQUEST)
            assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            found = secured.getpeercert(True)
            assert found
            return x509.load_der_x509_certificate(found)


def servers(node: Node) -> dict[str, int]:
    """Serial number of the certificate that each server of the member shows."""
    return {
        name: shown(node, number, name == "postgresql").serial_number
        for name, number in {"postgresql": node.port, "restapi": node.api_port, "etcd": node.etcd_port}.items()
    }


def answered(question: Callable[[], bool]) -> bool:
    """What is asked; False while a server takes its new certificate and drops a handshake."""
    try:
        return question()
    except OSError:
        return False


def serial(node: Node) -> int:
    return x509.load_pem_x509_certificate((node.run / "tls" / "node.crt").read_bytes()).serial_number


def age(node: Node, days: float) -> None:
    """Put the certificate in place that this member would have after so many days."""
    spec = node.spec()
    made = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    certificate, key = issue(
        spec.authority.read_bytes(), spec.authority.with_suffix(".key").read_bytes(), spec.certificates[0].names, made
    )
    write(node.run / "tls" / "node.key", key, 0o600)
    write(node.run / "tls" / "node.crt", certificate, 0o644)


@pytest.mark.parametrize("kind", ["alone", "cluster"])
def test_a_certificate_is_renewed_while_everything_runs(place: Path, etcd: Etcd, kind: str) -> None:
    """Two months old, it is replaced; PostgreSQL, the REST interface and the local etcd show the new one, nothing was
    started anew, connections stay."""
    node = Node("member", place, etcd.settings("renewal") if kind == "cluster" else {})
    with running(node):
        node.start()
        node.until("primary")
        assert servers(node) == dict.fromkeys(("postgresql", "restapi", "etcd"), serial(node))
        assert certificates.refresh(node.spec(), Log("test")) is False, "a fresh certificate is not renewed"
        started = node.value("SELECT pg_postmaster_start_time()")
        patroni = node.program("runtime.patroni")
        client = node.connect()
        age(node, DAYS - RENEW_BELOW_DAYS + 1)
        old = serial(node)
        # What the steward does every minute.
        assert certificates.refresh(node.spec(), Log("test")) is True
        assert node.api().call("POST", "/reload")[0] in (200, 202)
        assert serial(node) != old
        eventually(
            lambda: answered(lambda: set(servers(node).values()) == {serial(node)}),
            30,
            "every server shows the renewed certificate",
        )
        assert shown(node, node.port, True).not_valid_after_utc - datetime.datetime.now(
            datetime.UTC
        ) > datetime.timedelta(days=DAYS - 1)
        assert node.value("SELECT pg_postmaster_start_time()") == started
        assert node.program("runtime.patroni") == patroni
        with client.cursor() as cursor:
            cursor.execute("SELECT 1")
        client.close()
        assert node.role() == "primary"
        assert node.stop() == 0


def test_given_certificates_are_shown_and_followed(place: Path) -> None:
    """From elsewhere, as files: clients see them, members go on trusting their own, and a renewed file is taken over."""
    authority = Authority(place)
    certificate, key = authority.issue("db", "127.0.0.1", "db.example.org")
    both = {"CERTIFICATE": certificate, "PRIVATE_KEY": key, "CA": authority.file}
    node = Node(
        "member",
        place,
        {f"SSL_{kind}{name}_FILE": str(path) for kind in ("", "RESTAPI_") for name, path in both.items()},
    )
    with running(node):
        node.start()
        node.until("primary")

        def shows(common: str) -> bool:
            first = shown(node, node.port, True, str(authority.file)).serial_number
            second = shown(node, node.api_port, False, str(authority.file)).serial_number
            return (
                first == second == x509.load_pem_x509_certificate((place / f"{common}.crt").read_bytes()).serial_number
            )

        assert shows("db")
        started = node.value("SELECT pg_postmaster_start_time()")
        for new, old in zip(authority.issue("renewed", "127.0.0.1", "db.example.org"), (certificate, key), strict=True):
            old.write_bytes(new.read_bytes())
        assert certificates.refresh(node.spec(), Log("test")) is True
        assert node.api().call("POST", "/reload")[0] in (200, 202)
        eventually(lambda: answered(lambda: shows("renewed")), 30, "the renewed certificate is shown")
        assert node.value("SELECT pg_postmaster_start_time()") == started
        assert node.stop() == 0
