"""Whatever a person uses as a password, or writes into SPILO_CONFIGURATION, arrives in PostgreSQL unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runtime.log import Log
from runtime.spec import Role, Spec
from runtime.steward import roles
from tests.component.servers import Etcd
from tests.component.support import Node, eventually, running

# Texts that templates, shells, YAML, INI files, URLs, .pgpass, LDAP, printf and SASLprep (RFC 4013) are known to bend.
NASTY = (
    "'",
    '"',
    "\\",
    "\\\\'",
    "''",
    "&",
    "a&amp;b",
    "%",
    "%s %(x)s %%",
    "#",
    "# comment",
    "$",
    "$HOME ${HOME} $(id) `id`",
    " ",
    "  both ends  ",
    "\t",
    "a:b:c",
    "postgres://u:p@h/d?x=y",
    "key='value' host=elsewhere",
    "{{x}}",
    "{% x %}",
    "<b>",
    "null",
    "true",
    "0123",
    "1e3",
    "~",
    "- a",
    "!!x",
    "*",
    "?",
    "| >",
    "@file",
    "%00",
    "\\n",
    "\\u0041",
    "😀",
    "🇨🇭👩‍👩‍👧",
    "é",
    "e\u0301",
    "ﬁ",
    "Å",
    "\u212b",
    "ⅷ",
    "\u00ad",
    "a\u00adb",
    "\u00a0",
    "\u3000x",
    "Straße",
    "пароль",
    "密码",
    "كلمة",
    "א1",
    "\u200d",
    "\ufeff",
    "\u0007",
    "\u0085",
    "\u2028",
    "\U0010ffff",
    "x" * 200,
    "😀" * 200,
    "md5" + "0" * 32,
    "SCRAM-SHA-256$4096:AAAA$BBBB:CCCC",
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), min_size=1, max_size=200),
    st.lists(st.sampled_from(NASTY), min_size=1, max_size=6).map("".join),
)


@pytest.fixture
def restored(alone: Node) -> Iterator[Spec]:
    """What the member was booted with, and has again afterwards. Its own steward pauses, or it would set it meanwhile."""
    spec, steward = alone.spec(), alone.program("runtime.steward")
    assert steward is not None
    steward.suspend()
    try:
        yield spec
        roles.apply(spec, Log("test"))
    finally:
        steward.resume()


def with_password(spec: Spec, password: str) -> Spec:
    """The same member with this password for all three roles."""
    return dataclasses.replace(spec, roles={kind: Role(role.name, password) for kind, role in spec.roles.items()})


def check_login(node: Node, spec: Spec, password: str) -> None:
    """Every role gets in over TLS with exactly this text."""
    for kind, role in spec.roles.items():
        assert node.value("SELECT session_user", kind=kind, password=password) == role.name
    (verifier,) = node.sql(
        "SELECT rolpassword FROM pg_authid WHERE rolname = %s", spec.roles["admin"].name, password=password
    )[0]
    assert verifier.startswith("SCRAM-SHA-256$")


@settings(max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(password="  ' \" \\ & % # $ 😀 e\u0301  ")
@example(password="\u00ad")  # nothing is left of it by SASLprep, so it is used as it is
@example(password="😀" * 200)
@given(password=TEXTS)
def test_any_password_is_the_password(alone: Node, restored: Spec, password: str) -> None:
    """Given to the steward, a password of any characters logs in, for the superuser, standby and admin."""
    spec = with_password(restored, password)
    roles.apply(spec, Log("test"))
    check_login(alone, spec, password)
    assert roles.accepts(spec, spec.roles["admin"]), "the steward would set it again at each look"


def test_every_nasty_password_is_the_password(alone: Node, restored: Spec) -> None:
    """The known troublemakers one by one; with one character more nobody gets in."""
    for password in NASTY:
        spec = dataclasses.replace(restored, roles={**restored.roles, "admin": Role("admin", password)})
        roles.apply(spec, Log("test"))
        assert alone.value("SELECT session_user", kind="admin", password=password) == "admin"
        with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
            alone.connect("admin", password=password + "x")


@pytest.mark.parametrize(
    ("superuser", "standby", "admin"),
    [
        ("  ' \" \\ & % # $ 😀 e\u0301  ", "a:b\\c 'd' \"e\" %s #f $HOME ümlaut ", "{{x}}&amp;%(here)s\\' \t"),
    ],
)
def test_from_the_environment_to_the_login(place: Path, etcd: Etcd, superuser: str, standby: str, admin: str) -> None:
    """The whole way, of two members: one is given the texts as variables, the other one as files. The second is copied from
    and follows the first, so replication logs in with such a password too; nothing shows one."""
    files = {}
    for name, text in {
        "PGPASSWORD_SUPERUSER": superuser,
        "PGPASSWORD_STANDBY": standby,
        "PGPASSWORD_ADMIN": admin,
    }.items():
        (place / name).write_text(text + "\n", encoding="utf-8")
        files[f"{name}_FILE"] = str(place / name)
    # What YAML, PostgreSQL's own file and supervisord could bend.
    prefix = "%m [%p] %q'\"\\ & # $HOME {{x}} é "
    given = yaml.safe_dump(
        {"postgresql": {"parameters": {"log_line_prefix": prefix, "search_path": '"$user", public, "a\'b"'}}},
        allow_unicode=True,
    )
    common = {**etcd.settings("passwords"), "SPILO_CONFIGURATION": given}
    first = Node(
        "first",
        place,
        {**common, "PGPASSWORD_SUPERUSER": superuser, "PGPASSWORD_STANDBY": standby, "PGPASSWORD_ADMIN": admin},
    )
    second = Node("second", place, {**common, **files})
    with running(first, second):
        first.start()
        first.until("primary")
        second.start()
        second.until("replica")
        for node in (first, second):
            for kind, password in {"superuser": superuser, "standby": standby, "admin": admin}.items():
                assert node.spec().roles[kind].password == password
                assert node.value("SELECT session_user", kind=kind, password=password) == node.spec().roles[kind].name
            assert node.value("SELECT current_setting('log_line_prefix')") == prefix
            assert node.value("SELECT current_setting('search_path')") == '"$user", public, "a\'b"'
        eventually(
            lambda: first.sql(
                "SELECT 1 FROM pg_stat_replication WHERE application_name = 'second' AND state = 'streaming'"
            ),
            20,
            "the second member streams",
        )
        for node in (first, second):
            assert not [text for text in (superuser, standby, admin) if text in node.text()]
            assert node.stop() == 0
