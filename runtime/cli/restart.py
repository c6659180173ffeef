"""`spilo restart`: PostgreSQL of one member, or of all: replicas one after the other, the primary last.

A replica that commits wait for is waited for until they can again, so that the next restart takes no durability away.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.api import Api
from runtime.cli import ask, view
from runtime.cli.people import Progress, confirm, until
from runtime.spec import Spec
from runtime.trouble import Exit, Trouble

STOP_AND_START = 900.0  # seconds for Patroni's answer: a shutdown writes a checkpoint, a start may have WAL to replay
BACK = 300.0  # seconds until a restarted member does its part again
SYNCHRONOUS = ("quorum_standby", "sync_standby")  # roles in GET /cluster
KEPT_OUT = ("nosync", "nofailover", "replicatefrom")  # tags with which a member does not confirm commits in quorum mode


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "restart", help="restart PostgreSQL of this member, another, or all (replicas first)",
        description="Restart PostgreSQL, without a change of roles. With --all the replicas come first, one at a time, "
                    "each waited for until it streams again; the primary is last, writes wait for some seconds then.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--member", metavar="NAME", help="that member (default: this one)")
    which.add_argument("--all", action="store_true", help="all members")
    parser.add_argument("--pending-only", action="store_true", help="only where a setting waits for it")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.set_defaults(run=run)


def order(members: Sequence[Mapping[str, Any]], wanted: str | None) -> list[str]:
    """Names out of GET /cluster in the order of restarts, all of them for None: replicas by name, the leader last."""
    chosen = [one for one in members if wanted in (None, one["name"])]
    return [str(one["name"]) for one in sorted(chosen, key=lambda one: (one["role"] in ask.LEADERS, one["name"]))]


def run(spec: Spec, arguments: argparse.Namespace) -> None:
    cluster = ask.cluster(spec)
    wanted = None if arguments.all else arguments.member or spec.member
    if wanted:
        ask.api(spec, cluster, wanted)  # raises if there is no such member
    names = order(cluster["members"], wanted)
    if arguments.pending_only:
        pending = waiting(spec, cluster)
        names = [name for name in names if name in pending]
    if not names:
        print("no setting waits for a restart")
        return
    leader = ask.leader(cluster)
    warning = f" Writes wait while {leader}, the primary, restarts." if leader in names else ""
    confirm(f"Restart PostgreSQL of {', '.join(names)}?{warning}", arguments.yes)
    progress = Progress()
    for done, name in enumerate(names):
        try:
            restart(spec, name, arguments.pending_only, progress)
        except Trouble as trouble:
            left = ", ".join(names[done + 1:])
            detail = f"{trouble.detail}\nnot restarted: {left}" if left else trouble.detail
            raise Trouble(trouble.code, trouble.message, detail, trouble.hint) from None
    again = waiting(spec, cluster)
    if arguments.all and again:
        print(f"settings still wait for a restart of {', '.join(again)}: replicas follow a lowered limit only once the "
              "primary has it; repeat with --pending-only")


def waiting(spec: Spec, cluster: Mapping[str, Any]) -> list[str]:
    """The members in GET /cluster that say that a setting waits for their restart."""
    live = ask.live(spec, ask.urls(cluster))
    return [name for name, said in live.items() if (said or {}).get("pending_restart")]


def restart(spec: Spec, name: str, pending_only: bool, progress: Progress) -> None:
    """Restart one member and wait until it is what it was."""
    cluster = ask.cluster(spec)
    # Now, because while it restarts Patroni gives it a tag of its own.
    before: dict[str, Any] = next((one for one in cluster["members"] if one["name"] == name), {})
    mode = view.synchronous(ask.maybe(Api(spec), "/config") or {})
    if not any(one["role"] in SYNCHRONOUS for one in cluster["members"]):
        mode = "async"  # no commit is confirmed as it is: nothing to wait for
    progress.say(f"{name}: restarting")
    body = {"restart_pending": True} if pending_only else {}
    ask.act(ask.api(spec, cluster, name), "POST", "/restart", body, who=name, what=f"restart of {name}",
            seconds=STOP_AND_START)
    if not until(lambda: back(spec, name, mode, before.get("tags") or {}), BACK):
        raise Trouble(Exit.RETRY, f"{name} restarted, but is not back as it was", f"{BACK:.0f} s have passed",
                      "see `spilo status`, and `spilo logs` on that member")
    progress.say(f"{name}: " + ("running" if before.get("role") in ask.LEADERS else "streaming"))


def covered(members: Sequence[Mapping[str, Any]], name: str, mode: str, tags: Mapping[str, Any]) -> bool:
    """Whether commits have their replicas, by GET /cluster: in quorum mode the restarted `name` is among them, unless
    one of its tags keeps it out; in sync mode, or where `name` is the leader, there is one."""
    roles = {one["name"]: one["role"] for one in members}
    if mode == "async":
        return True
    if mode == "quorum" and roles.get(name) not in ask.LEADERS:
        return roles.get(name) == "quorum_standby" or any(tags.get(tag) for tag in KEPT_OUT)
    return any(role in SYNCHRONOUS for role in roles.values())


def back(spec: Spec, name: str, mode: str, tags: Mapping[str, Any]) -> bool:
    """Whether `name` does its part again: it runs as primary, or streams and can confirm commits."""
    cluster = ask.maybe(Api(spec), "/cluster") or {}
    members = cluster.get("members", [])
    listed = next((one for one in members if one["name"] == name), None)
    if listed is None:
        return False
    said = ask.live(spec, {name: str(listed["api_url"])})[name] or {}
    # What etcd lists of the primary is from before, until replicas have come and gone.
    if listed["role"] in ask.LEADERS:  # noqa: SIM108
        part = mode == "async" or view.confirming(said) > 0
    else:
        part = said.get("replication_state") == "streaming"
    return said.get("state") == "running" and part and covered(members, name, mode, tags)
