"""The commands of `spilo` beside `status`: the command line, what is printed, and how failures are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.cli import access, ask, history, people, restart
from runtime.cli.__main__ import parse
from runtime.spec import Role, Spec
from runtime.trouble import Exit, Trouble


def listed(name: str, role: str = "replica", **more: Any) -> dict[str, Any]:
    """A member in GET /cluster, as far as these commands look."""
    url = f"https://10.0.0.{name[-1]}:8008/patroni"
    return {"name": name, "role": role, "host": f"10.0.0.{name[-1]}", "port": 5432, "api_url": url, **more}


def spec() -> Spec:
    here = Path("/nowhere")
    return Spec("demo", "pg2", here, here, here, here, here, (), {}, 8008, "patroni", "p4", "/run/sockets", 5433, here,
                {"superuser": Role("root user", "p1"), "standby": Role("standby", "p2"), "admin": Role("admin", "p3")},
                {})


def test_history_of_short_and_long_lines() -> None:
    """Patroni's lines with and without time and member become events, positions as PostgreSQL writes them."""
    found = history.events([[1, 83886528, "no recovery target specified", "2026-11-22T21:52:15.846946+00:00", "pg1"],
                            [2, 5 << 32, "no recovery target specified"]])
    assert [(one["timeline"], one["previous"], one["primary"]) for one in found] == [(2, 1, "pg1"), (3, 2, None)]
    lines = history.render(found).splitlines()
    assert lines[1].split()[:5] == ["2", "0/50001C0", "2026-11-22", "21:52:15", "pg1"]
    assert lines[2].split()[:2] == ["3", "5/0"]
    assert history.render([]) == "no failover or switchover yet\n"


def test_restarts_leave_the_primary_for_last() -> None:
    """All members are replicas by name and then the leader; one member is itself."""
    members = [listed("pg1", "leader"), listed("pg3"), listed("pg2", "quorum_standby")]
    assert restart.order(members, None) == ["pg2", "pg3", "pg1"]
    assert restart.order(members, "pg3") == ["pg3"]


@pytest.mark.parametrize(("mode", "roles", "tags", "enough"), [
    ("quorum", ("quorum_standby", "replica"), {}, True),
    ("quorum", ("replica", "quorum_standby"), {}, False),
    ("quorum", ("replica", "quorum_standby"), {"nofailover": True}, True),
    ("quorum", ("replica", "quorum_standby"), {"nofailover": False, "clonefrom": True}, False),
    ("sync", ("replica", "sync_standby"), {}, True),
    ("sync", ("replica", "replica"), {}, False),
    ("async", ("replica", "replica"), {}, True),
])
def test_the_next_restart_waits_until_commits_have_their_replicas(mode: str, roles: tuple[str, str],
                                                                  tags: dict[str, bool], enough: bool) -> None:
    """In quorum mode the restarted pg2 has to confirm again if it can; in sync mode any member; else nobody."""
    members = [listed("pg1", "leader"), listed("pg2", roles[0]), listed("pg3", roles[1])]
    assert restart.covered(members, "pg2", mode, tags) is enough


@pytest.mark.parametrize(("replicas", "enough"), [(("replica",), False), (("replica", "quorum_standby"), True)])
def test_a_restarted_primary_is_done_when_a_replica_confirms(replicas: tuple[str, ...], enough: bool) -> None:
    """The restart of a primary ends when its commits are on another member again."""
    members = [listed("pg1", "leader"), *(listed(f"pg{n}", role) for n, role in enumerate(replicas, 2))]
    assert restart.covered(members, "pg1", "quorum", {}) is enough


def test_a_connection_string_names_all_members() -> None:
    """Members with an address are listed with their ports; quotes, @ and IPv6 survive."""
    members = [listed("pg1", "leader"), listed("pg2", port=5433), listed("pg3", host=None)]
    assert access.words(access.options(members, "o'brien", False)) == (
        "host=10.0.0.1,10.0.0.2 port=5432,5433 dbname=postgres user='o\\'brien' target_session_attrs=read-write "
        "sslmode=verify-full sslrootcert=ca.crt")
    assert access.uri(access.options([listed("pg1", host="fd00::1")], "a@b", True)) == (
        "postgresql://a%40b@[fd00::1]:5432/postgres?target_session_attrs=prefer-standby&sslmode=verify-full"
        "&sslrootcert=ca.crt")


def test_psql_gets_no_secret_of_the_container() -> None:
    """Only an allow-list reaches psql, and the container's settings do not override our defaults."""
    given = {"PATH": "/bin", "TERM": "xterm", "PGPASSWORD_SUPERUSER": "s", "CLUSTER_SECRET": "s", "PGPORT": "1"}
    assert access.environment(spec(), given) == {
        "PATH": "/bin", "TERM": "xterm", "PGHOST": "/run/sockets", "PGPORT": "5433", "PGUSER": "root user",
        "PGDATABASE": "postgres"}


@pytest.mark.parametrize(("role", "password"), [
    ("superuser", "p1"), ("standby", "p2"), ("admin", "p3"), ("restapi", "p4")])
def test_a_password_is_alone_on_stdout(role: str, password: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The password and nothing else, so that it can be captured."""
    access.run_password(spec(), parse(["password", role]))
    assert capsys.readouterr() == (f"{password}\n", "")


# --- the command line


@pytest.mark.parametrize("argv", [
    ["-c", "select 1"], ["mydb"], ["--help"], ["-h", "other"], ["--spec", "x"], ["--", "-c"], ["status"], []])
def test_everything_after_psql_is_psqls(argv: list[str]) -> None:
    """Options of psql that look like ours, help included, pass through untouched."""
    found = parse(["--spec", "psql", "psql", *argv])
    assert (found.rest, found.spec, found.run) == (argv, "psql", access.run_psql)


@pytest.mark.parametrize("argv", [
    [], ["nonsense"], ["status", "--wat"], ["status", "--output", "yaml"], ["password", "root"], ["reinit"],
    ["logs", "-n", "-1"], ["restart", "--all", "--member", "pg1"], ["psq", "-c", "select 1"]])
def test_a_wrong_command_line_is_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown, abbreviated, missing or contradicting words end with the usage and its exit code."""
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == Exit.USAGE
    assert "usage: spilo" in capsys.readouterr().err


def test_spec_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPILO_STEWARD is the default of --spec, and --spec wins."""
    monkeypatch.setenv("SPILO_STEWARD", "/elsewhere/steward.json")
    assert parse(["status"]).spec == "/elsewhere/steward.json"
    assert parse(["--spec", "/given", "status"]).spec == "/given"


# --- errors


def test_a_trouble_is_plain_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """People get the sentences without timestamps, and stdout stays empty."""
    assert people.serve(lambda: int(bool(ask.load("/no/such/file")))) == Exit.RETRY
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("this is not a running member\n  seen: /no/such/file does not exist\n  fix:  ")


def test_without_a_terminal_yes_has_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without --yes is told to add it, instead of waiting for input."""
    people.confirm("Really?", yes=True)
    monkeypatch.setattr("sys.stdin", open("/dev/null", encoding="ascii"))  # noqa: SIM115 (ends with the test)
    with pytest.raises(Trouble) as raised:
        people.confirm("Really?", yes=False)
    assert raised.value.code == Exit.USAGE
    assert "--yes" in raised.value.hint


@pytest.mark.parametrize(("status", "code"), [
    (400, Exit.USAGE), (401, Exit.SETTINGS), (412, Exit.REFUSED), (503, Exit.RETRY), (599, Exit.RETRY)])
def test_a_refusal_of_patroni_keeps_its_words(status: int, code: Exit) -> None:
    """The status decides the exit code; Patroni's own words are the detail."""
    found = ask.refused(status, "no good candidates have been found\n", "switchover")
    assert (found.code, found.message) == (code, "Patroni refuses the switchover")
    assert found.detail == f"{status} no good candidates have been found"
    assert found.hint


@pytest.mark.parametrize(("error", "text"), [
    ("HTTPSConnectionPool(host='127.0.0.1', port=8008): Read timed out. (read timeout=4.9)", "Read timed out."),
    ("('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
     "Remote end closed connection without response"),
    ("<urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish: [Errno 111] Connection refused",
     "[Errno 111] Connection refused"),
    ("etcdserver: request timed out", "request timed out"),
])
def test_the_useful_part_of_an_error(error: str, text: str) -> None:
    """A person sees the reason, not the library's wrapping."""
    assert ask.brief(error) == text


def test_an_unknown_member_is_answered_with_the_known_ones() -> None:
    """A mistyped member is a usage error that lists the members."""
    with pytest.raises(Trouble) as raised:
        ask.api(spec(), {"members": [listed("pg1"), listed("pg2")]}, "pg9")
    assert (raised.value.code, raised.value.detail) == (Exit.USAGE, "members are: pg1, pg2")
