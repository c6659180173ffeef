"""What the answers of Patroni, etcd and this machine mean for a person: pure functions from answers to a Status.

`Status.json` is what `spilo status --output json` prints; its shape is stable, new keys may be added within a version:

    version             1
    scope, member       the cluster, and the member that was asked
    system_identifier   of the cluster's data, null while there is none
    primary             name of the member whose PostgreSQL runs as primary, by its own word; null if there is none
    durability          mode: quorum, strict, sync, async or unknown; holds: whether a commit has now what the mode
                        promises; waits_for of connected: how many replicas a commit waits for; words: that for people
    paused              true while Patroni leaves PostgreSQL alone (`spilo pause`)
    failsafe            enabled; active: true while the cluster goes on without etcd
    scheduled_switchover  Patroni's {at, from, to}, or null
    members             name; role: primary, standby leader, quorum, sync or replica; state as in Patroni; timeline;
                        host; port; api_url; lag_bytes of what it received and replay_lag_bytes of what it shows, null
                        when not known; pending_restart: list of {setting, old, new}; tags; answers: whether its
                        Patroni answered
    etcd                reachable; version; members: names, null when not known; problems: list of texts
    volume              path, total_bytes, used_bytes, free_bytes (what this user can still write); null when not known
    certificates        list of {path, days_left}, of this member
    stored              null without an object store, else: archive, backup and drill as in runtime/cli/stored.py, moments
                        in seconds since the epoch
    warnings            list of texts: what must not be overlooked
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from runtime.cli.stored import Stored, warnings

ROLES = {"leader": "primary", "standby_leader": "standby leader", "quorum_standby": "quorum", "sync_standby": "sync"}


@dataclass(frozen=True)
class Pending:
    """A setting that waits for a restart, with the value in force and the one to come."""

    setting: str
    old: str
    new: str


@dataclass(frozen=True)
class Member:
    name: str
    role: str
    state: str
    timeline: int | None
    host: str | None
    port: int | None
    api_url: str
    lag_bytes: int | None
    replay_lag_bytes: int | None
    pending_restart: tuple[Pending, ...]
    tags: dict[str, Any]
    answers: bool


@dataclass(frozen=True)
class Durability:
    mode: str
    holds: bool
    waits_for: int
    connected: int
    words: str


@dataclass(frozen=True)
class Failsafe:
    enabled: bool
    active: bool


@dataclass(frozen=True)
class EtcdView:
    reachable: bool
    version: str | None = None
    members: tuple[str, ...] | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    path: str
    total_bytes: int
    used_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Certificate:
    path: str
    days_left: float


@dataclass(frozen=True)
class Status:
    scope: str
    member: str
    system_identifier: str | None
    primary: str | None
    durability: Durability
    paused: bool
    failsafe: Failsafe
    scheduled_switchover: dict[str, Any] | None
    members: tuple[Member, ...]
    etcd: EtcdView
    volume: Volume | None
    certificates: tuple[Certificate, ...]
    stored: Stored | None = None
    warnings: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """The documented shape, ready to be dumped."""
        return {"version": 1, **asdict(self)}


@dataclass(frozen=True)
class Answers:
    """What was asked and answered: GET /patroni of this member and (by name) of all, GET /cluster and /config, None
    where there was no answer."""

    own: Mapping[str, Any]
    cluster: Mapping[str, Any]
    config: Mapping[str, Any] | None
    live: Mapping[str, Mapping[str, Any] | None]


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None  # Patroni says "unknown" where it does not know


def pending(reasons: Mapping[str, Mapping[str, Any]] | None) -> tuple[Pending, ...]:
    """The settings in Patroni's pending_restart_reason, by name."""
    return tuple(Pending(name, str(one.get("old_value")), str(one.get("new_value")))
                 for name, one in sorted((reasons or {}).items()))


def member(listed: Mapping[str, Any], live: Mapping[str, Any] | None) -> Member:
    """One member, out of its entry in GET /cluster and its own GET /patroni, which is newer."""
    said = live or {}
    state = said.get("replication_state") or said.get("state") or listed["state"]
    return Member(
        str(listed["name"]), ROLES.get(listed["role"], str(listed["role"])), str(state),
        _number(said.get("timeline")) or _number(listed.get("timeline")), listed.get("host"), listed.get("port"),
        str(listed["api_url"]), _number(listed.get("lag")), _number(listed.get("replay_lag")),
        pending(said["pending_restart_reason"] if "pending_restart_reason" in said
                else None if live else listed.get("pending_restart_reason")),
        dict(listed.get("tags") or {}), live is not None,
    )


def without_etcd(topology: Mapping[str, str], live: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """An answer like GET /cluster, which needs etcd, out of what members say themselves: GET /failsafe and /patroni."""
    def role(said: Mapping[str, Any]) -> str:
        if said.get("role") == "primary":
            return "leader"
        return next((role for role in ("quorum_standby", "sync_standby") if said.get(role)), "replica")

    end = max((_number((said or {}).get("xlog", {}).get("location")) or 0 for said in live.values()), default=0)

    def entry(name: str, url: str) -> dict[str, Any]:
        said = live.get(name) or {}
        one = {"name": name, "role": role(said), "state": "unknown", "api_url": url, "host": urlsplit(url).hostname,
               "tags": said.get("tags")}
        for lag, location in (("lag", "received_location"), ("replay_lag", "replayed_location")):
            place = _number(said.get("xlog", {}).get(location))
            if place is not None and end:
                one[lag] = max(0, end - place)
        return one

    return {"members": [entry(name, url) for name, url in sorted(topology.items())]}


def running_primary(members: tuple[Member, ...], live: Mapping[str, Mapping[str, Any] | None]) -> str | None:
    """The leader, if its PostgreSQL runs as one by its own word and not only by what etcd still remembers."""
    for one in members:
        said = live.get(one.name)
        if one.role in ("primary", "standby leader") and said and said.get("state") == "running" \
                and said.get("role") in ("primary", "standby_leader"):
            return one.name
    return None


def confirming(primary: Mapping[str, Any]) -> int:
    """How many connected replicas can confirm commits, by PostgreSQL's own word in GET /patroni of the primary."""
    senders = [one for one in primary.get("replication") or [] if one.get("state") == "streaming"]
    return len([one for one in senders if one.get("sync_state") in ("quorum", "sync")])


def followed(config: Mapping[str, Any]) -> str:
    """What a standby cluster follows; empty for any other cluster."""
    section = config.get("standby_cluster") or {}
    ways = [f"{section['host']}:{section.get('port') or 5432}"] if section.get("host") else []
    return " and ".join([*ways, *(["an archive"] if section.get("restore_command") else [])])


def durability(config: Mapping[str, Any] | None, members: tuple[Member, ...],
               primary: Mapping[str, Any] | None) -> Durability:
    """What a commit waits for now; `primary` is the GET /patroni of the running primary, None if there is none."""
    connected = confirming(primary or {})
    mode = _mode(config)
    if other := followed(config or {}):
        return Durability(mode, primary is not None, 0, 0, f"follows {other}, accepts no writes (`spilo promote` ends that)")
    waits = min(connected, max(1, int((config or {}).get("synchronous_node_count") or 1))) if mode != "async" else 0
    held = f"commits wait for {waits} of {connected} replica{'s' if connected != 1 else ''}"
    if primary is None:
        return Durability(mode, False, 0, 0, f"{mode}: no primary answers, nothing is known to be committed")
    if mode == "async":
        return Durability(mode, True, 0, connected, "async: commits do not wait for replicas")
    if connected:
        words = f"{mode}: {held}" if mode != "unknown" else f"{held} (the mode is not known now)"
        return Durability(mode, True, waits, connected, words)
    if mode == "unknown":
        words = "not known now; no replica confirms commits"
    elif any(one.role in ("quorum", "sync") for one in members):
        words = f"{mode}: commits wait, their replicas are not connected"
    elif mode == "strict":
        words = "strict, no replica: commits wait until there is one"
    else:
        words = f"{mode}, no replica: commits are on the primary only"
    return Durability(mode, False, 0, 0, words)


def synchronous(config: Mapping[str, Any]) -> str:
    """How Patroni picks the replicas that commits wait for: quorum (all that can), sync (a named few), async (none)."""
    given = str(config.get("synchronous_mode", False)).lower()
    return "async" if given in ("false", "off", "none", "0", "no") else "quorum" if given == "quorum" else "sync"


def _mode(config: Mapping[str, Any] | None) -> str:
    if config is None:
        return "unknown"
    strict = str(config.get("synchronous_mode_strict", False)).lower() in ("true", "on", "1", "yes")
    mode = synchronous(config)
    return "strict" if strict and mode != "async" else mode


@dataclass(frozen=True)
class Here:
    """What this member knows without Patroni."""

    scope: str
    member: str
    etcd: EtcdView
    volume: Volume | None
    certificates: tuple[Certificate, ...]
    stored: Stored | None = None


def status(here: Here, answers: Answers) -> Status:
    """Everything together."""
    members = tuple(member(one, answers.live.get(one["name"])) for one in answers.cluster["members"])
    primary = running_primary(members, answers.live)
    said = [answers.own, *(one for one in answers.live.values() if one)]
    identifiers = [str(one["database_system_identifier"]) for one in said if one.get("database_system_identifier")]
    # Replicas remember the failsafe mode for a while, so the primary's word counts where there is one.
    active = any(one.get("failsafe_mode_is_active") for one in ([answers.live[primary] or {}] if primary else said))
    return Status(
        here.scope, here.member, identifiers[0] if identifiers else None, primary,
        durability(answers.config, members, answers.live[primary] if primary else None),
        bool(answers.cluster.get("pause") or (not here.etcd.reachable and answers.own.get("pause"))),
        Failsafe(active or bool((answers.config or {}).get("failsafe_mode")), active),
        answers.cluster.get("scheduled_switchover"), members, here.etcd, here.volume, here.certificates,
        here.stored, warnings(here.stored),
    )
