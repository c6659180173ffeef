"""`spilo switchover`: another member becomes primary, on purpose and without loss, and how long it took is reported."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from runtime.api import Api, Unanswered
from runtime.cli import ask
from runtime.cli.people import Progress, confirm, until
from runtime.spec import Spec
from runtime.trouble import Exit, Trouble

PATIENCE = 120.0  # seconds until the new primary has to be there; the old one writes a checkpoint first
FOLLOW = 60.0  # seconds in which the former primary is expected back as a replica


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "switchover", help="make another member the primary, without losing a commit",
        description="Make another member the primary. The old one shuts down cleanly first, so no commit is lost; "
                    "connections to it end, and writes wait for some seconds.")
    parser.add_argument("--to", metavar="MEMBER", help="the next primary (default: the replica that is furthest)")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.set_defaults(run=run)


def run(spec: Spec, arguments: argparse.Namespace) -> None:
    cluster = ask.cluster(spec)
    old = ask.leader(cluster)
    if old is None:
        raise Trouble(Exit.RETRY, "the cluster has no primary to switch over from", "", "see `spilo status`")
    if arguments.to:
        ask.api(spec, cluster, arguments.to)  # raises if there is no such member
    if arguments.to == old:
        raise Trouble(Exit.USAGE, f"{old} is the primary already", "", "name another member, or none")
    if cluster.get("pause") and not arguments.to:
        raise Trouble(Exit.USAGE, "while the cluster is paused, a switchover needs a candidate", "", "add --to MEMBER")
    confirm(f"Switch over from {old} to {arguments.to or 'the best replica'}?", arguments.yes)
    progress = Progress()
    with ThreadPoolExecutor(1) as pool:
        body = {"leader": old, "candidate": arguments.to}
        # Patroni answers after the fact, and looks once a second only; this looks closer.
        answer = pool.submit(Api(spec).call, "POST", "/switchover", body, PATIENCE)
        progress.say(f"asked {old} to hand over")
        new = follow(spec, old, answer, progress)
    progress.say(f"{new} is the primary and accepts writes: the switchover took {progress.seconds:.1f} s")
    if not until(lambda: follows(spec, old), FOLLOW):
        raise Trouble(Exit.RETRY, f"the switchover is done, but {old} does not stream from {new} yet",
                      f"{FOLLOW:.0f} s have passed", "see `spilo status`, and `spilo logs` on that member")
    progress.say(f"{old} follows as a replica")


def follow(spec: Spec, old: str, answer: Future[tuple[int, Any]], progress: Progress) -> str:
    """The new primary, once its PostgreSQL says that it is one; raises Trouble if Patroni refuses or takes too long."""
    holder: str | None = old
    while progress.seconds < PATIENCE:
        if answer.done():
            check(answer)
        listed = ask.maybe(Api(spec), "/cluster")
        if listed and "members" in listed:
            new = ask.leader(listed)
            if new != holder:
                progress.say(f"{new} took the leader key" if new else f"{holder} gave up the leader key")
                holder = new
            if new and new != old and primary(spec, listed, new):
                return new
        time.sleep(0.1)
    raise Trouble(Exit.RETRY, "the switchover takes too long", f"{PATIENCE:.0f} s have passed",
                  "see `spilo status`, and `spilo logs`")


def check(answer: Future[tuple[int, Any]]) -> None:
    """Raise a Trouble if Patroni's answer is not a success."""
    try:
        status, words = answer.result()
    except Unanswered as error:
        raise ask.silent(error, "this member") from None
    if status not in (200, 202):
        raise ask.refused(status, words, "switchover")


def primary(spec: Spec, listed: dict[str, Any], name: str) -> bool:
    """Whether the PostgreSQL of `name` runs as a primary by its own word."""
    try:
        return ask.api(spec, listed, name).role() == "primary"
    except Unanswered:
        return False


def follows(spec: Spec, name: str) -> bool:
    """Whether `name` streams."""
    urls = ask.urls(ask.maybe(Api(spec), "/cluster") or {"members": []})
    said = ask.live(spec, {name: urls[name]})[name] if name in urls else None
    return (said or {}).get("replication_state") == "streaming"
