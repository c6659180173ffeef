"""The steward: changes of the configuration, certificates, and the specification that it reads."""

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
from runtime.steward.dynamic import changes, paths
from tests.unit.samples import AUTHORITY, CERTIFICATE, CLUSTER, KEY, MACHINE, SECRET, content, good, make, read

TREES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner,
                                                                                 max_size=4), max_leaves=10)


MAPPINGS = st.dictionaries(st.text(max_size=2), TREES, max_size=4)


def patched(tree: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """What Patroni makes of a PATCH: mappings merge, None removes."""
    result = dict(tree)
    for key, value in patch.items():
        old = result.get(key)
        if value is None:
            result.pop(key, None)
        else:
            result[key] = patched(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def without_none(tree: dict[str, Any]) -> dict[str, Any]:
    """Patroni has no key without a value."""
    return {key: without_none(value) if isinstance(value, dict) else value for key, value in tree.items() if value is not None}


@given(MAPPINGS, MAPPINGS)
def test_changes_lead_from_one_to_the_other(last: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Applied to what the environment last said, the changes give what it says now; no change gives none."""
    last, wanted = without_none(last), without_none(wanted)
    assert patched(last, changes(last, wanted)) == wanted
    assert changes(wanted, wanted) == {}


def test_changes_leave_the_rest_alone() -> None:
    """A value that a person set in etcd is changed only if the environment says something new of that very value."""
    last = {"ttl": 20, "postgresql": {"parameters": {"a": "1", "b": "1"}}}
    wanted = {"ttl": 30, "postgresql": {"parameters": {"a": "1", "b": "2"}}}
    edited = {"ttl": 20, "postgresql": {"parameters": {"a": "person's", "b": "1"}}, "pause": True}
    patch = changes(last, wanted)
    assert sorted(paths(patch)) == ["postgresql.parameters.b", "ttl"]
    assert patched(edited, patch) == {"ttl": 30, "postgresql": {"parameters": {"a": "person's", "b": "2"}}, "pause": True}


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
