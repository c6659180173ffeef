"""Writing the plan: modes, replacement, the secret of a member alone, and what is shown of secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import apply, layout
from bootstrap.layout import Layout
from runtime.trouble import Exit, Trouble
from tests.unit.samples import CLUSTER, good, make


@pytest.fixture
def paths(tmp_path: Path) -> Layout:
    """An empty layout."""
    return layout.make(good({}), str(tmp_path))


def test_apply(paths: Layout, tmp_path: Path) -> None:
    """Everything in the plan is there afterwards with its mode, and what an earlier boot left is gone."""
    apply.apply(make({}, str(tmp_path)), paths)
    (paths.last_words / "reason").write_text("old")
    plan = make(CLUSTER, str(tmp_path))
    apply.apply(plan, paths)
    for file in plan.files:
        assert file.path.read_bytes() == file.content
        assert file.path.stat().st_mode & 0o777 == file.mode
    for request in plan.certificates:
        assert Path(request.path).with_suffix(".key").stat().st_mode & 0o777 == 0o600
    for folder in plan.folders:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not (paths.last_words / "reason").exists()


def test_certificates_of_the_last_boot_go(paths: Layout, tmp_path: Path) -> None:
    """A boot issues its certificates anew, so that a changed CLUSTER_SECRET takes effect."""
    plan = make(CLUSTER, str(tmp_path))
    apply.apply(plan, paths)
    first = Path(plan.certificates[0].path).read_bytes()
    apply.apply(make({**CLUSTER, "CLUSTER_SECRET": "another secret of ours"}, str(tmp_path)), paths)
    assert Path(plan.certificates[0].path).read_bytes() != first


def test_secret_is_kept(paths: Layout) -> None:
    """A member alone makes a secret once, for its owner's eyes only, and finds it again."""
    assert apply.kept_secret(paths) is None
    made = apply.keep_secret(paths)
    assert apply.kept_secret(paths) == made
    assert paths.credentials.stat().st_mode & 0o777 == 0o600
    assert paths.credentials.parent.stat().st_mode & 0o777 == 0o700


def test_claim(paths: Layout) -> None:
    """A volume belongs to the first who claims it until he lets go, and nobody else gets it meanwhile."""
    lock = apply.claim(paths)
    with pytest.raises(Trouble, match="another container runs on the volume") as caught:
        apply.claim(paths)
    assert caught.value.code == Exit.REFUSED
    os.close(lock)
    os.close(apply.claim(paths))


@pytest.mark.parametrize(("value", "secrets", "shown"), [
    ("the secret is hunter22", ("hunter22",), "the secret is <secret>"),
    ("hunter22 and hunter22!", ("hunter22", "hunter22!"), "<secret> and <secret>"),
    ("abc", ("abc",), "<secret>"),
    ("abcdef abc", ("abc",), "abcdef abc"),
    ("a.b*c(d is not axbxcxd", ("a.b*c(d",), "<secret> is not axbxcxd"),
    (r"a\1b\g<0>c", (r"a\1b\g<0>c",), "<secret>"),
    ("-----KEY-----\n", ("-----KEY-----\n",), "<secret>"),
    ("x -----KEY----- y", ("-----KEY-----\n",), "x <secret> y"),
    ("anything", ("",), "anything"),
    ("anything", (" ", "\n"), "anything"),
    (5432, ("5432",), 5432),
    (None, ("None",), None),
    ({"a": ["hunter22", {"b": "hunter22"}]}, ("hunter22",), {"a": ["<secret>", {"b": "<secret>"}]}),
])
def test_masked(value: Any, secrets: tuple[str, ...], shown: Any) -> None:
    """A secret is hidden wherever it stands, as text and not as a pattern; the longest one first."""
    assert apply.masked(value, secrets) == shown


@given(st.text(min_size=6), st.text(), st.text())
def test_masked_everywhere(secret: str, before: str, behind: str) -> None:
    """No secret of some length survives in a text."""
    secret = f"Zq7{secret}"
    assert secret.strip() not in apply.masked(before + secret + behind, (secret,))
