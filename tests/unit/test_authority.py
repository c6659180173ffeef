"""The cluster's certificate authority and the certificates issued by it, verified by Python's own TLS."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import authority
from runtime.authority import days_left, issue, names_of, renew
from runtime.spec import Request
from tests.unit.samples import AUTHORITY, AUTHORITY_KEY, NOW

NAMES = ("one", "db.example.com", "127.0.0.1", "::1")
SEED = bytes(range(48))
FINGERPRINT = "f0851969f83f41f082c252af2cdbfeb479a48cd7d741f89e5723b515d64062db"


@pytest.fixture
def issuer(tmp_path: Path) -> Path:
    """An authority on disk, as the boot leaves it."""
    path = tmp_path / "authority.crt"
    authority.write(path, AUTHORITY.encode(), 0o644)
    authority.write(path.with_suffix(".key"), AUTHORITY_KEY.encode(), 0o600)
    return path


def handshake(folder: Path, certificate: bytes, key: bytes, trusted: str, name: str,
              *, client: bool = False) -> ssl.SSLObject:
    """The client's end of a whole TLS handshake in memory, or SSLError; `client`: it shows the same certificate."""
    (folder / "leaf.crt").write_bytes(certificate)
    (folder / "leaf.key").write_bytes(key)
    here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.load_cert_chain(folder / "leaf.crt", folder / "leaf.key")
    there = ssl.create_default_context(cadata=trusted)
    there.verify_flags |= ssl.VERIFY_X509_STRICT
    if client:
        there.load_cert_chain(folder / "leaf.crt", folder / "leaf.key")
        here.load_verify_locations(cadata=trusted)
        here.verify_mode = ssl.CERT_REQUIRED
        here.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [there.wrap_bio(down, up, server_hostname=name), here.wrap_bio(up, down, server_side=True)]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
        if not waiting:
            return ends[0]
    raise AssertionError("the handshake does not end")


def leaf(names: tuple[str, ...] = NAMES) -> tuple[bytes, bytes]:
    """A certificate that is valid now, and its key."""
    return issue(AUTHORITY.encode(), AUTHORITY_KEY.encode(), names, datetime.datetime.now(datetime.UTC))


def test_same_bytes() -> None:
    """The same seed and scope give the same authority byte for byte, today and in every later version."""
    first, again = authority.authority(SEED, "demo"), authority.authority(SEED, "demo")
    assert first == again
    assert hashlib.sha256(b"".join(first)).hexdigest() == FINGERPRINT


def test_other_seed() -> None:
    """Another seed gives another key, another scope another certificate."""
    assert authority.authority(SEED, "demo")[1] != authority.authority(SEED[::-1], "demo")[1]
    assert authority.authority(SEED, "demo")[0] != authority.authority(SEED, "other")[0]


@settings(max_examples=10)
@given(st.binary(min_size=48, max_size=48), st.from_regex(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?", fullmatch=True))
def test_any_seed(seed: bytes, scope: str) -> None:
    """Every seed and every scope give an authority that can sign, and only that."""
    certificate = x509.load_pem_x509_certificate(authority.authority(seed, scope)[0])
    assert certificate.serial_number.bit_length() <= 159
    certificate.verify_directly_issued_by(certificate)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.value.path_length, constraints.critical) == (True, 0, True)


@pytest.mark.parametrize("seed", [bytes(48), b"\xff" * 48])
def test_seed_at_the_edge(seed: bytes) -> None:
    """Seeds of zeros and ones only are keys too."""
    assert authority.authority(seed, "demo")[1].startswith(b"-----BEGIN PRIVATE KEY-----")


@pytest.mark.parametrize("name", NAMES)
def test_handshake(name: str, tmp_path: Path) -> None:
    """A strict client verifies a member's certificate for its names and addresses."""
    certificate, key = leaf()
    assert handshake(tmp_path, certificate, key, AUTHORITY, name).version() == "TLSv1.3"


def test_handshake_of_both_sides(tmp_path: Path) -> None:
    """The same certificate serves a member as a client, strictly verified."""
    certificate, key = leaf()
    assert handshake(tmp_path, certificate, key, AUTHORITY, "127.0.0.1", client=True).getpeercert()


@pytest.mark.parametrize("name", ["two.example.com", "127.0.0.2"])
def test_handshake_for_another_name(name: str, tmp_path: Path) -> None:
    """A certificate is not valid for a name that it does not have."""
    certificate, key = leaf()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, certificate, key, AUTHORITY, name)


def test_handshake_with_another_authority(tmp_path: Path) -> None:
    """A certificate is not valid for those who trust another cluster's authority, even one of the same name."""
    certificate, key = leaf()
    other = authority.authority(SEED[::-1], "elsewhere")[0].decode()
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, certificate, key, other, "one")


def test_days_left() -> None:
    """The days that remain are counted from a given moment, and go below zero."""
    certificate = issue(AUTHORITY.encode(), AUTHORITY_KEY.encode(), NAMES, NOW)[0]
    for days in (0, 60, 89.5, 91):
        assert days_left(certificate, NOW + datetime.timedelta(days=days)) == pytest.approx(authority.DAYS - days)


def test_names() -> None:
    """The names of a certificate can be read back."""
    assert names_of(leaf()[0]) == set(NAMES)


def test_renew(issuer: Path, tmp_path: Path) -> None:
    """A certificate is issued once, and then again only when it ends soon, its names change or its authority does."""
    request = Request(str(tmp_path / "node.crt"), NAMES)
    path = Path(request.path)
    assert renew(request, issuer, NOW)
    first = path.read_bytes()
    later = NOW + datetime.timedelta(days=authority.DAYS - authority.RENEW_BELOW_DAYS - 1)
    assert not renew(request, issuer, later)
    assert path.read_bytes() == first
    assert not renew(Request(request.path, NAMES[::-1]), issuer, NOW)
    assert renew(request, issuer, later + datetime.timedelta(days=1))
    assert renew(Request(request.path, (*NAMES, "more")), issuer, NOW)
    certificate, key = authority.authority(SEED[::-1], "elsewhere")
    authority.write(issuer, certificate, 0o644)
    authority.write(issuer.with_suffix(".key"), key, 0o600)
    assert renew(Request(request.path, (*NAMES, "more")), issuer, NOW)
    assert not renew(Request(request.path, (*NAMES, "more")), issuer, NOW)
    assert path.read_bytes().endswith(certificate)


def test_modes(issuer: Path, tmp_path: Path) -> None:
    """A key can be read by its owner only, a certificate by all, also when they replace others."""
    path = tmp_path / "node.crt"
    path.with_suffix(".key").write_text("old")
    path.with_suffix(".key").chmod(0o644)
    renew(Request(str(path), NAMES), issuer, NOW)
    assert path.with_suffix(".key").stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o777 == 0o644
    assert sorted(one.name for one in tmp_path.iterdir()) == ["authority.crt", "authority.key", "node.crt", "node.key"]
