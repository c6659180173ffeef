"""`spilo promote`: a standby cluster stops following the other one, for good, and accepts writes."""

from __future__ import annotations

import argparse
import time
from typing import Any

from runtime import wal
from runtime.api import Api, Unanswered
from runtime.cli import ask
from runtime.cli.people import Progress, confirm
from runtime.cli.view import followed
from runtime.spec import Spec
from runtime.trouble import Exit, Trouble

PATIENCE = 120.0  # seconds until the standby leader has to be a primary


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "promote", help="end of following another cluster: this one accepts writes",
        description="A standby cluster (STANDBY_HOST, STANDBY_SCOPE) stops following and becomes a cluster of its own. What "
                    "it has not received by then is not in it, and it cannot follow again. The other cluster is not touched: "
                    "stop its writers first.")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.set_defaults(run=run)


def run(spec: Spec, arguments: argparse.Namespace) -> None:
    config = ask.get(Api(spec), "/config", "this member", dict)
    if not config.get("standby_cluster"):
        raise Trouble(Exit.USAGE, "this cluster does not follow another one", "", "see `spilo status`")
    if config.get("pause"):
        raise Trouble(Exit.REFUSED, "while the cluster is paused, nobody is promoted", "", "`spilo resume` first")
    cluster = ask.cluster(spec)
    name = ask.leader(cluster)
    if name is None:
        raise Trouble(Exit.RETRY, "the cluster has no standby leader to promote", "", "see `spilo status`")
    leader = ask.api(spec, cluster, name)
    confirm(f"Stop following {followed(config)} for good, and make {name} a primary?", arguments.yes)
    progress = Progress()
    said = ask.maybe(leader, "/patroni") or {}
    ask.act(leader, "PATCH", "/config", {"standby_cluster": None}, who=name, what="end of following")
    progress.say(f"no longer following {followed(config)}; {name} had replayed up to {_position(said)}")
    new = primary(spec, progress)
    progress.say(f"{new} is the primary and accepts writes on timeline {_timeline(spec, new)}")
    print("take the STANDBY_ settings away from the members when they are started again" +
          ("; archiving and base backups begin under this cluster's own scope" if spec.store else ""))


def _position(said: dict[str, Any]) -> str:
    location = (said.get("xlog") or {}).get("replayed_location")
    return wal.show_lsn(location) if isinstance(location, int) else "a position that it did not tell"


def _timeline(spec: Spec, name: str) -> object:
    said = ask.maybe(ask.api(spec, ask.cluster(spec), name), "/patroni") or {}
    return said.get("timeline", "that is not known yet")


def primary(spec: Spec, progress: Progress) -> str:
    """The member whose PostgreSQL says that it is the primary now; raises RETRY if that takes too long."""
    while progress.seconds < PATIENCE:
        listed = ask.maybe(Api(spec), "/cluster") or {"members": []}
        name = ask.leader(listed)
        try:
            if name and ask.api(spec, listed, name).role() == "primary":
                return name
        except Unanswered:
            pass
        time.sleep(0.2)
    raise Trouble(Exit.RETRY, "the promotion takes too long", f"{PATIENCE:.0f} s have passed",
                  "see `spilo status`, and `spilo logs`")
