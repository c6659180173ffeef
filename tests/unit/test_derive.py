"""What follows from CLUSTER_SECRET. The vectors are a promise: another result would lock clusters out."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from bootstrap import derive
from bootstrap.kinds import Secret
from tests.unit.samples import SECRET

VECTORS = {
    ("demo", "superuser"): "ekdFZnm6eQnqFADKS9rSBUC6_zYSnoEq",
    ("demo", "standby"): "eH_JWhdYIWSaGwV_IGtjVqYejOjIz8F0",
    ("other", "superuser"): "Z0sfl5oR9mwUWmf6mJviMctvJMGp6fRa",
}
SEED = "abbf426b9e7f8790291a778fd1b94a74ce41a69c7c5dadf21a29e2ac924f9d09fee78cb3d6c26ca2aaeb15e5fe0878f0"
SECRETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)


def test_vectors() -> None:
    """The derivation gives what it has always given."""
    assert {key: derive.password(SECRET, *key).reveal() for key in VECTORS} == VECTORS
    assert derive.authority_seed(SECRET, "demo").hex() == SEED


@given(SECRETS)
def test_shape(text: str) -> None:
    """A derived password has 32 characters that no shell, URL or file format treats in a way of its own."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{32}", derive.password(Secret(text), "demo", "admin").reveal())
    assert len(derive.authority_seed(Secret(text), "demo")) == 48


@given(st.sets(SECRETS, min_size=2, max_size=2), st.sets(st.sampled_from("abcd"), min_size=2, max_size=2))
def test_different(texts: set[str], words: set[str]) -> None:
    """Another secret, another scope or another role gives another password."""
    found = [derive.password(Secret(text), scope, role) for text in texts for scope in words for role in words]
    assert len(set(found)) == 8


def test_new_secret() -> None:
    """Each fresh secret is new, and good enough to be given as CLUSTER_SECRET."""
    found = {derive.new_secret().reveal() for _ in range(100)}
    assert len(found) == 100
    assert min(len(text) for text in found) >= 43
