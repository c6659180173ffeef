"""Everything that follows from CLUSTER_SECRET, so that members agree without talking to one another.

HKDF-SHA256 (RFC 5869), salted with the scope, so that one secret used for two clusters gives unrelated passwords.
The derivation is a promise: changing it changes the passwords of every running cluster.
"""

from __future__ import annotations

import base64
import secrets

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bootstrap.kinds import Secret


def _bytes(secret: Secret, scope: str, purpose: str, length: int) -> bytes:
    kdf = HKDF(SHA256(), length, salt=f"spilo/{scope}".encode(), info=f"spilo v1 {purpose}".encode())
    return kdf.derive(secret.reveal().encode())


def password(secret: Secret, scope: str, role: str) -> Secret:
    """The password of a role: 32 characters of A-Z a-z 0-9 - _ (192 bits)."""
    return Secret(base64.urlsafe_b64encode(_bytes(secret, scope, f"password {role}", 24)).decode())


def authority_seed(secret: Secret, scope: str) -> bytes:
    """48 bytes for the private key of the cluster's certificate authority."""
    return _bytes(secret, scope, "authority", 48)


def new_secret() -> Secret:
    """A fresh CLUSTER_SECRET with 256 bits."""
    return Secret(secrets.token_urlsafe(32))
