"""The cluster's certificate authority and the certificates that members issue to themselves.

The authority is a function of the cluster's secret: every member computes the same key and the same certificate, byte
for byte, so nothing needs to be handed round. Python 3.13 verifies strictly (VERIFY_X509_STRICT): authorities carry
keyUsage, leaves an authority key identifier (RFC 5280, 4.2.1).
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.spec import Request

DAYS = 90
RENEW_BELOW_DAYS = 30
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256, FIPS 186-4 D.1.2.3


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def authority(seed: bytes, scope: str) -> tuple[bytes, bytes]:
    """Certificate and key (PEM) of the authority that belongs to `seed` (48 bytes); the same for the same arguments."""
    key = ec.derive_private_key(int.from_bytes(seed) % (_ORDER - 1) + 1, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"spilo {scope}"[:64])])
    usage = x509.KeyUsage(False, False, False, False, False, key_cert_sign=True, crl_sign=True, encipher_only=False,
                          decipher_only=False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest[:15]) + 1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2099, 12, 31))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256(), ecdsa_deterministic=True)
    )
    return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def issue(authority_certificate: bytes, authority_key: bytes, names: tuple[str, ...],
          now: datetime.datetime) -> tuple[bytes, bytes]:
    """A fresh key and a certificate over it (PEM, with the authority's behind it), for servers and clients, valid for
    DAYS from `now` (UTC, aware)."""
    signer = serialization.load_pem_private_key(authority_key, None)
    issuer = x509.load_pem_x509_certificate(authority_certificate)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                       critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + authority_certificate, _pem(key)


def days_left(certificate: bytes, now: datetime.datetime) -> float:
    """How many days the (first) certificate remains valid; negative once it has expired."""
    return (x509.load_pem_x509_certificate(certificate).not_valid_after_utc - now).total_seconds() / 86400


def write(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` in one step: a reader finds the old content or the new one, with `mode` from the first byte."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask
        file.write(content)
    temporary.replace(path)


def renew(request: Request, authority_path: Path, now: datetime.datetime) -> bool:
    """Issue `request` where its certificate is missing, is not for these names, or ends soon. True if it was issued.

    The key is replaced before the certificate; readers that see the new key beside the old certificate fail to load
    the pair and keep what they have, until they are told to load again.
    """
    path = Path(request.path)
    issuer = authority_path.read_bytes()
    if path.exists():
        current = path.read_bytes()
        lasts = days_left(current, now) > RENEW_BELOW_DAYS
        if lasts and current.endswith(issuer) and names_of(current) == set(request.names):
            return False
    certificate, key = issue(issuer, authority_path.with_suffix(".key").read_bytes(), request.names, now)
    write(path.with_suffix(".key"), key, 0o600)
    write(path, certificate, 0o644)
    return True


def names_of(certificate: bytes) -> set[str]:
    """The DNS names and addresses that a certificate is for."""
    found = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in found.value}
