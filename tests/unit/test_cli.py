"""`spilo status`: what the answers of Patroni become, as values, as JSON and as a page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from runtime.cli import people, view
from runtime.cli.page import render

GIB = 1 << 30


def listed(name: str, role: str = "replica", **more: Any) -> dict[str, Any]:
    """A member in GET /cluster."""
    state = "running" if role == "leader" else "streaming"
    lag = {} if role == "leader" else {"lag": 0, "replay_lag": 0}
    return {"name": name, "role": role, "state": state, "api_url": f"https://10.0.0.{name[-1]}:8008/patroni",
            "host": f"10.0.0.{name[-1]}", "port": 5432, "timeline": 3, **lag, **more}


def primary(*replicas: tuple[str, str]) -> dict[str, Any]:
    """GET /patroni of a primary with (sync_state, state) of what is connected to it."""
    return {"state": "running", "role": "primary", "timeline": 3, "database_system_identifier": "77",
            "xlog": {"location": 5000}, "replication": [{"sync_state": one, "state": two} for one, two in replicas]}


def replica(**more: Any) -> dict[str, Any]:
    """GET /patroni of a streaming replica."""
    return {"state": "running", "role": "replica", "timeline": 3, "replication_state": "streaming",
            "xlog": {"received_location": 4900, "replayed_location": 4000}, **more}


QUORUM = {"synchronous_mode": "quorum", "synchronous_mode_strict": False, "synchronous_node_count": 1,
          "failsafe_mode": True}
STREAMING = ("quorum", "streaming")
CLUSTER: dict[str, Any] = {"members": [listed("pg1", "leader"), listed("pg2", "quorum_standby", lag=3 << 20),
                       listed("pg3", "quorum_standby")]}
LIVE = {"pg1": primary(STREAMING, STREAMING), "pg2": replica(), "pg3": replica()}


def status(cluster: dict[str, Any] = CLUSTER, config: dict[str, Any] | None = QUORUM, etcd: view.EtcdView | None = None,
           **live: dict[str, Any] | None) -> view.Status:
    """The status of the sample cluster as pg2 sees it, with other live answers where given."""
    answers = {**LIVE, **live}
    here = view.Here("demo", "pg2", etcd or view.EtcdView(True, "3.5.16", ("e1", "e2", "e3")),
                     view.Volume("/data", 100 * GIB, 40 * GIB, 60 * GIB), (view.Certificate("/run/node.crt", 88.7),))
    return view.status(here, view.Answers(answers["pg2"] or {}, cluster, config, answers))


# --- durability in words


@pytest.mark.parametrize(("config", "replicas", "words", "holds"), [
    (QUORUM, [STREAMING, STREAMING], "quorum: commits wait for 1 of 2 replicas", True),
    (QUORUM, [STREAMING], "quorum: commits wait for 1 of 1 replica", True),
    ({**QUORUM, "synchronous_node_count": 2}, [STREAMING, STREAMING], "quorum: commits wait for 2 of 2 replicas", True),
    ({**QUORUM, "synchronous_node_count": 2}, [STREAMING], "quorum: commits wait for 1 of 1 replica", True),
    (QUORUM, [("async", "streaming")], "quorum, no replica: commits are on the primary only", False),
    (QUORUM, [], "quorum, no replica: commits are on the primary only", False),
    ({**QUORUM, "synchronous_mode_strict": True}, [STREAMING], "strict: commits wait for 1 of 1 replica", True),
    ({**QUORUM, "synchronous_mode_strict": True}, [], "strict, no replica: commits wait until there is one", False),
    ({"synchronous_mode": True}, [("sync", "streaming")], "sync: commits wait for 1 of 1 replica", True),
    ({"synchronous_mode": "off"}, [("async", "streaming")], "async: commits do not wait for replicas", True),
    ({}, [], "async: commits do not wait for replicas", True),
    (None, [STREAMING], "commits wait for 1 of 1 replica (the mode is not known now)", True),
    (None, [], "not known now; no replica confirms commits", False),
])
def test_durability_says_what_a_commit_waits_for(config: dict[str, Any] | None, replicas: list[tuple[str, str]],
                                                 words: str, holds: bool) -> None:
    """The mode comes from the configuration, what holds from the replicas that are connected now."""
    found = view.durability(config, (), primary(*replicas))
    assert (found.words, found.holds) == (words, holds)


def test_a_commit_waits_when_its_replicas_are_gone_but_not_yet_given_up() -> None:
    """Members that etcd lists as confirming, but that do not stream, hold commits up: that is said."""
    found = status(pg1=primary(("quorum", "catchup"))).durability
    assert (found.words, found.holds) == ("quorum: commits wait, their replicas are not connected", False)


def test_without_a_primary_nothing_holds() -> None:
    """No answer of a primary means no promise about commits."""
    found = status(pg1=None).durability
    assert not found.holds
    assert "no primary" in found.words


# --- who is primary


def test_the_primary_is_who_says_so_itself() -> None:
    """The leader whose own Patroni says that it runs as primary is the primary."""
    assert status().primary == "pg1"


@pytest.mark.parametrize("said", [
    None, {"state": "starting", "role": "primary"}, {"state": "running", "role": "replica"}])
def test_a_leader_in_etcd_that_does_not_run_as_primary_is_none(said: dict[str, Any] | None) -> None:
    """The leader key alone does not make a primary: a stale key must not look healthy."""
    assert status(pg1=said).primary is None


# --- members


def test_roles_are_the_fields_words() -> None:
    """Patroni's roles are shown as primary, quorum, sync, replica."""
    members = [listed("pg1", "leader"), listed("pg2", "quorum_standby"), listed("pg3", "sync_standby"), listed("pg4")]
    assert [one.role for one in status({"members": members}).members] == ["primary", "quorum", "sync", "replica"]


def test_lag_is_bytes_or_null() -> None:
    """Patroni's `unknown` becomes null, a number stays a number."""
    found = view.member(listed("pg2", lag="unknown", replay_lag=17), replica())
    assert (found.lag_bytes, found.replay_lag_bytes) == (None, 17)


def test_a_members_own_word_is_newer_than_the_list() -> None:
    """State, timeline and waiting settings of a member that answers come from its answer."""
    found = view.member(listed("pg2", pending_restart_reason={"old": {"old_value": 1, "new_value": 2}}),
                        {"state": "running", "timeline": 4, "replication_state": "in archive recovery"})
    assert (found.state, found.timeline, found.pending_restart) == ("in archive recovery", 4, ())


def test_a_silent_member_is_what_it_last_reported() -> None:
    """A member that does not answer is shown as etcd remembers it, and marked."""
    reasons = {"max_connections": {"old_value": "100", "new_value": "200"}}
    found = view.member(listed("pg2", pending_restart_reason=reasons), None)
    assert not found.answers
    assert found.pending_restart == (view.Pending("max_connections", "100", "200"),)


def test_without_etcd_members_are_listed_from_their_own_words() -> None:
    """With etcd away, the failsafe topology and the members' answers make the same view, with lag."""
    topology = {name: f"https://10.0.0.{name[-1]}:8008/patroni" for name in ("pg1", "pg2", "pg3")}
    live = {"pg1": primary(STREAMING), "pg2": replica(quorum_standby=True), "pg3": None}
    found = status(view.without_etcd(topology, live), None, view.EtcdView(False, problems=("refused",)), **live)
    assert [(one.name, one.role, one.state, one.host) for one in found.members] == [
        ("pg1", "primary", "running", "10.0.0.1"), ("pg2", "quorum", "streaming", "10.0.0.2"),
        ("pg3", "replica", "unknown", "10.0.0.3")]
    lags = [(one.lag_bytes, one.replay_lag_bytes) for one in found.members]
    assert lags == [(None, None), (100, 1000), (None, None)]
    assert found.primary == "pg1"


def test_failsafe_mode_is_active_by_the_primarys_word() -> None:
    """Replicas remember the failsafe mode for a while after it ended, so the primary decides."""
    said = {"failsafe_mode_is_active": True}
    assert status(pg1={**LIVE["pg1"], **said}).failsafe == view.Failsafe(True, True)
    assert status(pg2=replica(**said)).failsafe == view.Failsafe(True, False)


# --- JSON


def test_json_has_the_documented_shape() -> None:
    """The keys are those of the module's documentation, in its order; the values keep their types."""
    found = json.loads(json.dumps(status().json()))
    documented = re.findall(r"^    ([a-z_]+(?:, [a-z_]+)*)  ", view.__doc__ or "", re.MULTILINE)
    assert list(found) == [key for line in documented for key in line.split(", ")]
    assert found["version"] == 1
    assert found["members"][1] == {
        "name": "pg2", "role": "quorum", "state": "streaming", "timeline": 3, "host": "10.0.0.2", "port": 5432,
        "api_url": "https://10.0.0.2:8008/patroni", "lag_bytes": 3 << 20, "replay_lag_bytes": 0, "pending_restart": [],
        "tags": {}, "answers": True}
    assert found["durability"] == {"mode": "quorum", "holds": True, "waits_for": 1, "connected": 2,
                                   "words": "quorum: commits wait for 1 of 2 replicas"}
    assert found["volume"] == {
        "path": "/data", "total_bytes": 100 * GIB, "used_bytes": 40 * GIB, "free_bytes": 60 * GIB}
    assert found["certificates"] == [{"path": "/run/node.crt", "days_left": 88.7}]


# --- the page


def test_the_page_of_a_healthy_cluster() -> None:
    """The whole page, character by character."""
    assert render(status()) == """\
cluster demo, system 77
  durability   quorum: commits wait for 1 of 2 replicas
  automation   on
  failsafe     on: without etcd the primary serves on while all members answer it
  etcd         healthy, 3 members, version 3.5.16
  volume       40.0 GiB of 100 GiB used, 60.0 GiB free
  certificate  89 days left

  MEMBER  ROLE     STATE      TL      LAG  REPLAY  ADDRESS
  pg1     primary  running     3                   10.0.0.1:5432
* pg2     quorum   streaming   3  3.0 MiB     0 B  10.0.0.2:5432
  pg3     quorum   streaming   3      0 B     0 B  10.0.0.3:5432
"""


def test_the_page_says_what_is_wrong() -> None:
    """Pause, lost etcd, missing primary, planned switchover, waiting settings, tags and silence are all named."""
    reasons = {"shared_buffers": {"old_value": "1GB", "new_value": "2GB"},
               "max_wal_senders": {"old_value": 5, "new_value": 10}}
    cluster = {"members": [*CLUSTER["members"][:2], listed("pg3", tags={"nofailover": True})], "pause": True,
               "scheduled_switchover": {"at": "2030-01-01T00:00:00+00:00", "to": "pg2"}}
    page = render(status(cluster, etcd=view.EtcdView(False, problems=("timed out",)), pg1=None,
                         pg2=replica(pending_restart_reason=reasons)))
    for text in ("automation   PAUSED", "etcd         OUT OF REACH: timed out", "no primary answers here",
                 "switchover   at 2030-01-01T00:00:00+00:00, to pg2", "pg3 has tags: nofailover=True", "pg1 is silent",
                 "pg2 needs a restart for max_wal_senders (5 -> 10), shared_buffers (1GB -> 2GB)", "running (silent)"):
        assert text in page


def test_colours_are_there_only_when_asked_for() -> None:
    """Plain text has no escape sequences; with colours only the ill member's row is red."""
    ill = status(pg3=None)
    assert "\033" not in render(ill)
    assert "\033[31m  pg3" in render(ill, colour=True)
    assert "\033[31m  pg1" not in render(ill, colour=True)


def test_the_table_of_usual_names_fits_80_columns() -> None:
    """Docker's host names, long addresses and large lags fit a terminal of 80 columns."""
    lags = {"lag": 999 << 20, "replay_lag": 99 << 30}
    members = [listed(f"0123456789a{n}", "quorum_standby", host=f"10.123.145.{100 + n}", **lags) for n in range(3)]
    page = render(status({"members": members}, QUORUM, None, **{one["name"]: replica() for one in members}))
    rows = [line for line in page.splitlines() if ":5432" in line]
    assert len(rows) == 3
    assert max(map(len, rows)) <= 80


@pytest.mark.parametrize(("count", "text"), [
    (None, ""), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (16 << 20, "16.0 MiB"), (999 << 30, "999 GiB"),
    (3 << 60, "3072 PiB")])
def test_sizes(count: int | None, text: str) -> None:
    """Bytes get the unit that keeps three digits or so."""
    assert people.size(count) == text
