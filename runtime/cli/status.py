"""`spilo status`: asks Patroni, every member, etcd and this machine, and shows what they say on one page."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import yaml

from runtime.api import Api, Unanswered
from runtime.authority import days_left
from runtime.cli import ask, page, view
from runtime.cli import stored as archived
from runtime.cli.people import coloured
from runtime.cli.stored import Stored
from runtime.etcd import Etcd, Unreachable
from runtime.records import Records
from runtime.spec import Spec
from runtime.trouble import Exit, Trouble

EVERY = 2.0  # seconds between two looks of --watch


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "status", help="the cluster at a glance: members, lag, durability, etcd, volume, backups",
        description="The cluster at a glance. * marks the member that was asked. ROLE quorum or sync: a replica that "
                    "commits wait for. LAG: WAL not received yet, REPLAY: not visible yet. "
                    "Exit code 0 if there is a running primary, else 4.")
    parser.add_argument("--output", choices=("table", "json"), default="table", help="table (default) or json (stable)")
    parser.add_argument("--watch", action="store_true", help=f"look again every {EVERY:.0f} seconds, until Ctrl-C")
    parser.set_defaults(run=run)


def etcd(spec: Spec, config: dict[str, Any]) -> view.EtcdView:
    """etcd as seen through this member's own endpoint: reading a key needs a majority of etcd's members."""
    client = Etcd(config["etcd3"])
    try:
        client.get(f"/{config['namespace'].strip('/')}/{spec.scope}/initialize")
    except Unreachable as error:
        return view.EtcdView(False, problems=(ask.brief(str(error)),))

    def also(path: str) -> dict[str, Any]:
        try:
            return client.call(path, {})
        except Unreachable:
            return {}  # a user of etcd need not be allowed to know

    state, listed = also("/maintenance/status"), also("/cluster/member/list").get("members")
    names = None if listed is None else tuple(sorted(str(one.get("name") or one["ID"]) for one in listed))
    return view.EtcdView(True, state.get("version"), names, tuple(str(one).strip() for one in state.get("errors", ())))


def volume(spec: Spec) -> view.Volume | None:
    try:
        usage = shutil.disk_usage(spec.volume)
    except OSError:
        return None
    return view.Volume(str(spec.volume), usage.total, usage.used, usage.free)


def certificates(spec: Spec) -> tuple[view.Certificate, ...]:
    """What this member shows to others, issued by itself or given; authorities are not among them."""
    now = datetime.datetime.now(datetime.UTC)
    own = [path for path in sorted(spec.authority.parent.glob("*.crt")) if path not in (spec.authority, spec.trusted)]
    return tuple(view.Certificate(str(path), round(days_left(path.read_bytes(), now), 1)) for path in own)


def here(spec: Spec) -> dict[str, Any]:
    """GET /patroni of this member; raises RETRY if there is no answer."""
    try:
        answer = Api(spec).call("GET", "/patroni")[1]
    except Unanswered as error:
        answer = ask.brief(str(error))
    if not isinstance(answer, dict):
        raise Trouble(Exit.RETRY, "Patroni of this member does not answer: it starts, it stops, or it is stuck", answer,
                      "`spilo logs` says why; `spilo status` on another member shows the others")
    return answer


def answers(spec: Spec) -> view.Answers:
    """Ask this member's Patroni, then all members; raises RETRY if ours gives no answer."""
    def get(path: str) -> dict[str, Any] | None:
        return ask.maybe(Api(spec), path)

    with ThreadPoolExecutor(3) as pool:
        cluster, config, failsafe = (pool.submit(get, path) for path in ("/cluster", "/config", "/failsafe"))
        own = here(spec)
    listed = cluster.result()
    if listed is None or "members" not in listed:
        topology: dict[str, str] = failsafe.result() or {spec.member: f"https://127.0.0.1:{spec.api_port}/patroni"}
        live = {**ask.live(spec, topology), spec.member: own}
        return view.Answers(own, view.without_etcd(topology, live), config.result(), live)
    others = {name: url for name, url in ask.urls(listed).items() if name != spec.member}
    return view.Answers(own, listed, config.result(), {**ask.live(spec, others), spec.member: own})


def stored(spec: Spec, primary: bool) -> Stored | None:
    """What is known of the store, without asking it. Of the archiver the primary has the last word, the others what was
    recorded of it."""
    if spec.store is None:
        return None
    now = datetime.datetime.now()  # schedules are in the container's time zone
    try:
        records = Records(spec)
        backup = archived.backup(records.get("backup"), spec.store.schedule, now)
        drill = archived.drill(records.get("drill"), spec.store.verify_schedule, now)
        recorded = records.get("archive")
    except Unreachable:
        backup, drill, recorded = archived.Backup("unknown"), archived.Drill("unknown"), None
    if primary:
        with contextlib.suppress(OSError, ValueError):
            recorded = {**json.loads(spec.store.status.read_text(encoding="utf-8")), "member": spec.member}
    return Stored(archived.archive(recorded), backup, drill)


def look(spec: Spec) -> view.Status:
    """Everything, asked now."""
    with open(spec.patroni, encoding="utf-8") as file:
        config = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    with ThreadPoolExecutor(1) as pool:
        reached = pool.submit(etcd, spec, config)
        said = answers(spec)
        here = view.Here(spec.scope, spec.member, reached.result(), volume(spec), certificates(spec),
                         stored(spec, said.own.get("role") == "primary"))
        return view.status(here, said)


def show(status: view.Status, arguments: argparse.Namespace) -> None:
    """Print one look; with --watch one JSON document a line, or one page in place of the last."""
    if arguments.output == "json":
        print(json.dumps(status.json(), indent=None if arguments.watch else 2), flush=True)
        return
    wipe = "\033[H\033[2J" if arguments.watch and sys.stdout.isatty() else ""
    sys.stdout.write(wipe + page.render(status, coloured()))
    sys.stdout.flush()


def watch(spec: Spec, arguments: argparse.Namespace) -> int:
    """Look until Ctrl-C, which is how this is meant to end; a member that restarts meanwhile is only said to."""
    try:
        while True:
            try:
                show(look(spec), arguments)
            except Trouble as trouble:
                print("\n".join(trouble.lines()), file=sys.stderr)
            time.sleep(EVERY)
    except KeyboardInterrupt:
        return Exit.OK


def run(spec: Spec, arguments: argparse.Namespace) -> int:
    if arguments.watch:
        return watch(spec, arguments)
    status = look(spec)
    show(status, arguments)
    return Exit.OK if status.primary else Exit.RETRY
