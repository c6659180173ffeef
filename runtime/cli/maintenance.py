"""`spilo reload`, `pause`, `resume` and `reinit`: one request to Patroni each, and one line on what it means."""

from __future__ import annotations

import argparse

from runtime.api import Api
from runtime.cli import ask
from runtime.cli.people import confirm, until
from runtime.spec import Spec
from runtime.trouble import Exit, Trouble

NOTICE = 30.0  # seconds in which every member has to have noticed a pause, well above loop_wait


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    reload = commands.add_parser(
        "reload", help="read this member's configuration files again",
        description="Patroni and PostgreSQL of this member read their configuration files again.")
    reload.set_defaults(run=run_reload)
    pause = commands.add_parser(
        "pause", help="stop automatic failover, for maintenance",
        description="Stop automatic failover in the whole cluster: Patroni leaves PostgreSQL alone, whatever happens, "
                    "until `spilo resume`.")
    pause.set_defaults(run=lambda spec, _: switch(spec, True))
    resume = commands.add_parser("resume", help="start automatic failover again", description="Undo `spilo pause`.")
    resume.set_defaults(run=lambda spec, _: switch(spec, False))
    reinit = commands.add_parser("reinit", help="copy a replica anew from the cluster",
                                 description="Delete the data of a replica and copy it anew.")
    reinit.add_argument("member", metavar="MEMBER")
    reinit.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    reinit.set_defaults(run=run_reinit)


def run_reload(spec: Spec, _arguments: argparse.Namespace) -> None:
    ask.act(Api(spec), "POST", "/reload", None, who="this member", what="reload")
    print(f"{spec.member} reads its configuration again; `spilo status` shows settings that need a restart")


def switch(spec: Spec, pause: bool) -> None:
    """Pause or resume, and wait until every member has noticed, because only then it is true."""
    cluster = ask.cluster(spec)
    if bool(cluster.get("pause")) == pause:
        print("the cluster is paused already" if pause else "the cluster is not paused")
        return
    ask.act(Api(spec), "PATCH", "/config", {"pause": True if pause else None}, who="this member",
            what="pause" if pause else "end of the pause")
    late: list[str] = []

    def noticed() -> bool:
        live = ask.live(spec, ask.urls(cluster))
        late[:] = [name for name, said in live.items() if said is None or bool(said.get("pause")) != pause]
        return not late

    if not until(noticed, NOTICE):
        raise Trouble(Exit.RETRY, f"written, but not confirmed by {', '.join(late)}", f"{NOTICE:.0f} s have passed",
                      "see `spilo status`; a member follows as soon as it reaches etcd again")
    print("paused: nothing fails over, and PostgreSQL is not started again if it stops, until `spilo resume`" if pause
          else "resumed: Patroni fails over and starts PostgreSQL again by itself")


def run_reinit(spec: Spec, arguments: argparse.Namespace) -> None:
    cluster, name = ask.cluster(spec), arguments.member
    api = ask.api(spec, cluster, name)
    if name == ask.leader(cluster):
        raise Trouble(Exit.REFUSED, f"{name} is the primary: its data is the cluster's data", "",
                      "to replace it, make another member the primary first: spilo switchover")
    confirm(f"Delete the data of {name} and copy it anew?", arguments.yes)
    ask.act(api, "POST", "/reinitialize", {}, who=name, what=f"new copy of {name}")
    print(f"{name} is being copied anew; it is back when `spilo status --watch` shows it streaming")
