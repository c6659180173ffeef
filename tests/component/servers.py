"""Servers that are not part of a member: an authority from elsewhere, etcd, DNS."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from tests.component.support import SECRET, Process, eventually, port


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)


class Authority:
    """A certificate authority that is not the cluster's, strict enough for Python 3.13 (RFC 5280, 4.2.1)."""

    def __init__(self, place: Path) -> None:
        self.place, self.key = place, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "elsewhere")])
        self.file = place / "elsewhere.crt"
        self.file.write_bytes(self._sign(self.name, self.key, [], 0).public_bytes(serialization.Encoding.PEM))

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, names: Sequence[str], length: int | None
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(length is not None, length), True)
            .add_extension(_usage(length is not None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative(name) for name in names]), False)
        return builder.sign(self.key, SHA256())

    def issue(self, common: str, *names: str) -> tuple[Path, Path]:
        """Files with a certificate and its key; `common` is also the user that etcd sees."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]), key, names or [common], None
        )
        paths = self.place / f"{common}.crt", self.place / f"{common}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return paths


def alternative(name: str) -> x509.GeneralName:
    """A name as it stands in a certificate."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Etcd(Process):
    """One etcd, plain or with TLS and client certificates, of a cluster of its own unless told otherwise."""

    def __init__(
        self, name: str, place: Path, authority: Authority | None = None, peers: str = "", peer_port: int | None = None
    ) -> None:
        self.port, self.peer_port = port(), peer_port or port()
        self.authority, scheme = authority, "https" if authority else "http"
        self.url, peer = f"{scheme}://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer_port}"
        command = [
            "etcd",
            "--name",
            name,
            "--data-dir",
            str(place / name),
            "--listen-client-urls",
            self.url,
            "--advertise-client-urls",
            self.url,
            "--listen-peer-urls",
            peer,
            "--initial-advertise-peer-urls",
            peer,
            "--initial-cluster",
            peers or f"{name}={peer}",
            "--unsafe-no-fsync",
            "--log-level",
            "warn",
        ]
        if authority:
            certificate, key = authority.issue("server", "127.0.0.1", "localhost")
            self.certificate, self.key = authority.issue("client")
            command += [
                "--cert-file",
                str(certificate),
                "--key-file",
                str(key),
                "--client-cert-auth",
                "--trusted-ca-file",
                str(authority.file),
            ]
        super().__init__(name, command, place)

    def until_healthy(self, seconds: float = 20) -> None:
        http = urllib3.PoolManager(retries=False, timeout=2, **self._tls())

        def healthy() -> bool:
            with contextlib.suppress(urllib3.exceptions.HTTPError, ValueError):
                return bool(json.loads(http.request("GET", f"{self.url}/health").data)["health"] == "true")
            return False

        eventually(healthy, seconds, f"{self.name} is healthy")

    def _tls(self) -> dict[str, Any]:
        if not self.authority:
            return {}
        return {"ca_certs": str(self.authority.file), "cert_file": str(self.certificate), "key_file": str(self.key)}

    def ctl(self, *arguments: str) -> str:
        """What etcdctl says."""
        command = ["etcdctl", f"--endpoints={self.url}", *arguments]
        if self.authority:
            command += [f"--cacert={self.authority.file}", f"--cert={self.certificate}", f"--key={self.key}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

    def settings(self, scope: str) -> dict[str, str]:
        """What a member needs to use it."""
        given = {"SCOPE": scope, "CLUSTER_SECRET": SECRET, "ETCD_URL": self.url}
        if self.authority:
            given |= {
                "ETCD_CACERT": str(self.authority.file),
                "ETCD_CERT": str(self.certificate),
                "ETCD_KEY": str(self.key),
            }
        return given


def etcd_cluster(place: Path, count: int = 3) -> list[Etcd]:
    """Several plain etcd that form one cluster, started and healthy."""
    ports = [port() for _ in range(count)]
    peers = ",".join(f"etcd{i}=http://127.0.0.1:{number}" for i, number in enumerate(ports))
    servers = [Etcd(f"etcd{i}", place, peers=peers, peer_port=number) for i, number in enumerate(ports)]
    for server in servers:
        server.start()
    for server in servers:
        server.until_healthy()
    return servers


class Dns:
    """An authoritative DNS server on loopback (UDP). `zone` maps (name, type) to records in text form; `broken` maps
    such a pair to what happens instead: `servfail` or `silent`. `asked` counts the questions."""

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], list[str]] = {}
        self.broken: dict[tuple[str, str], str] = {}
        self.asked: list[tuple[str, str]] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = int(self.socket.getsockname()[1])
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            data, client = self.socket.recvfrom(4096)
            if not data:
                return
            answer = self._answer(dns.message.from_wire(data))
            if answer:
                self.socket.sendto(answer.to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        asked = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(asked)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        if self.broken.get(asked) == "silent":
            return None
        if self.broken.get(asked) == "servfail":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif asked in self.zone:
            answer.answer.append(dns.rrset.from_text_list(question.name, 1, "IN", asked[1], self.zone[asked]))
        elif not any(name == asked[0] for name, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knock:
            knock.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join(5)
        self.socket.close()
