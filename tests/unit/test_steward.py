"""The steward: fingerprints of the configuration, certificates, and the specification that it reads."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import apply, layout, plan
from runtime import spec
from runtime.log import Log
from runtime.spec import Spec
from runtime.steward import certificates
from runtime.steward.dynamic import fingerprint
from tests.unit.samples import AUTHORITY, CERTIFICATE, CLUSTER, KEY, MACHINE, SECRET, content, good, make, read

TREES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner,
                                                                                 max_size=4), max_leaves=10)


def turned(tree: Any) -> Any:
    """The same tree with the keys of every mapping in the other order."""
    if isinstance(tree, dict):
        return {key: turned(tree[key]) for key in reversed(tree)}
    return [turned(one) for one in tree] if isinstance(tree, list) else tree


@given(st.dictionaries(st.text(max_size=4), TREES, max_size=4))
def test_fingerprint_ignores_order(tree: dict[str, Any]) -> None:
    """The order of keys does not change the fingerprint."""
    assert fingerprint(tree) == fingerprint(turned(tree))


@given(st.dictionaries(st.text(max_size=4), TREES, max_size=4), st.dictionaries(st.text(max_size=4), TREES, max_size=4))
def test_fingerprint_tells_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Different configurations have different fingerprints."""
    assert (fingerprint(one) == fingerprint(other)) == (json.dumps(one, sort_keys=True) == json.dumps(other,
                                                                                                      sort_keys=True))


def test_fingerprint_of_lists() -> None:
    """The order in a list counts."""
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


@pytest.fixture
def booted(tmp_path: Path) -> Spec:
    """A member as the boot leaves it, with a certificate that was given as files."""
    for name, text in (("crt", CERTIFICATE), ("key", KEY)):
        (tmp_path / f"given.{name}").write_text(text)
    environ = {**CLUSTER, "SSL_CERTIFICATE_FILE": str(tmp_path / "given.crt"),
               "SSL_PRIVATE_KEY_FILE": str(tmp_path / "given.key"),
               "SSL_CA": AUTHORITY}
    found, problems = read(environ, {str(tmp_path / "given.crt"): CERTIFICATE, str(tmp_path / "given.key"): KEY})
    assert problems == []
    paths = layout.make(found, str(tmp_path))
    apply.apply(plan.make(found, MACHINE, paths, SECRET), paths)
    return spec.load(str(paths.steward))


def test_certificates_at_rest(booted: Spec) -> None:
    """Right after the boot nothing has to be renewed or copied."""
    assert certificates.refresh(booted, Log("test")) is False


def test_given_file_changes(booted: Spec) -> None:
    """A given file that changed is copied again, once, with the mode that it has to have."""
    (copy,) = [Path(one) for one in booted.watched if one.endswith(".key")]
    Path(booted.watched[str(copy)]).write_text("-----BEGIN PRIVATE KEY-----\nnew\n-----END PRIVATE KEY-----\n\n")
    assert certificates.refresh(booted, Log("test")) is True
    assert copy.read_text() == "-----BEGIN PRIVATE KEY-----\nnew\n-----END PRIVATE KEY-----\n"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert certificates.refresh(booted, Log("test")) is False


def test_given_file_goes(booted: Spec) -> None:
    """A given file that is gone leaves our copy in use."""
    for source in booted.watched.values():
        Path(source).unlink()
    assert certificates.refresh(booted, Log("test")) is False
    assert all(Path(target).exists() for target in booted.watched)


def test_own_certificate_ends(booted: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The member's own certificate is renewed before it ends."""

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return cls.fromtimestamp(time.time() + 61 * 86400, tz)

    monkeypatch.setattr(datetime, "datetime", Later)
    assert certificates.refresh(booted, Log("test")) is True
    assert certificates.refresh(booted, Log("test")) is False


def test_specification(booted: Spec) -> None:
    """What the boot writes is what the tools read."""
    raw = json.loads(content(make(CLUSTER), "steward.json"))
    assert (booted.scope, booted.member, booted.port, booted.api_port) == ("demo", "one", 5432, 8008)
    assert booted.roles["admin"].name == "admin"
    assert booted.dynamic == raw["dynamic"]
    assert good(CLUSTER)["SCOPE"] == raw["scope"]
