"""`spilo backup`: base backups taken, listed, expired, proven, and restored into a directory of the person's own.

What talks to the store is imported when it is needed: boto3 takes half a second, which no other command should wait for.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from runtime.basebackup.model import Backup, Catalog
from runtime.basebackup.target import show_time
from runtime.cli import ask, restore, verify
from runtime.cli.people import size, table
from runtime.spec import Spec
from runtime.tool import tool
from runtime.trouble import Exit, Trouble
from runtime.wal import show_lsn

HEAD = ("NAME", "FINISHED", "TL", "SIZE", "STORED", "START", "STOP", "TOOK", "DRILL", "TOOL", "USABLE")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("backup", help="base backups: now, list, show, expire, verify, restore",
                                 description="Base backups of this cluster in its object store.")
    works = parser.add_subparsers(dest="work", metavar="WORK", required=True)
    now = works.add_parser("now", help="take one now", description="Take a base backup now. Run it on the primary.")
    now.set_defaults(run=run_now)
    listing = works.add_parser("list", help="which there are", description="The base backups in the store, oldest first.")
    listing.add_argument("--output", choices=("table", "json"), default="table", help="table (default) or json")
    listing.set_defaults(run=run_list)
    one = works.add_parser("show", help="everything about one", description="Everything that is known of a base backup.")
    one.add_argument("name", metavar="NAME", nargs="?", default="LATEST", help="as `spilo backup list` shows it (default: the newest)")
    one.add_argument("--output", choices=("text", "json"), default="text", help="text (default) or json")
    one.set_defaults(run=run_show)
    expire = works.add_parser("expire", help="what retention would delete",
                              description="Shows what BACKUP_NUM_TO_RETAIN and BACKUP_DAYS_TO_RETAIN do not want any more.")
    expire.add_argument("--yes", action="store_true", help="delete it")
    expire.add_argument("--dry-run", action="store_true", help="only show it, which is the default")
    expire.set_defaults(run=run_expire)
    restore.add(works)
    verify.add(works)


def folder(spec: Spec) -> Path:
    """The variables of this cluster's store; raises SETTINGS where it has none."""
    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "this cluster has no object store", "WAL_S3_BUCKET is not given")
    return spec.store.folder


def look(spec: Spec) -> Catalog:
    """What is in the store."""
    from runtime.basebackup import catalog
    from runtime.store import Store, StoreError

    try:
        return catalog.read(Store.open(folder(spec)))
    except StoreError as error:
        raise Trouble(Exit.RETRY, "the store does not say what there is", str(error),
                      "`spilo status` shows how the archive is") from None


def work(*words: str) -> int:
    """Run a piece of work of runtime.backup as a child, which cleans up after itself when it is interrupted."""
    with subprocess.Popen(tool("runtime.backup", *words)) as child:
        try:
            return child.wait()
        except BaseException:
            child.send_signal(signal.SIGTERM)
            child.wait()
            raise


def run_now(spec: Spec, arguments: argparse.Namespace) -> int:
    folder(spec)
    leader = ask.leader(ask.cluster(spec))
    if leader != spec.member:
        raise Trouble(Exit.RETRY, "base backups are taken on the primary", f"this is {spec.member}",
                      f"run it on {leader}" if leader else "there is no primary now, see `spilo status`")
    return work("take", f"--spec={arguments.spec}")


def run_expire(spec: Spec, arguments: argparse.Namespace) -> int:
    folder(spec)
    if arguments.yes and arguments.dry_run:
        raise Trouble(Exit.USAGE, "--yes and --dry-run exclude each other")
    return work("expire", f"--spec={arguments.spec}", *(["--yes"] if arguments.yes else []))


def shape(found: Catalog, one: Backup) -> dict[str, Any]:
    """A backup as `--output json` gives it; moments are RFC 3339 in UTC, sizes bytes, durations seconds."""
    why = found.why_not(one)
    return {
        "name": one.name, "finished": show_time(one.finished).replace(" ", "T") if one.finished else None,
        "finished_is_guessed": one.guessed, "timeline": one.timeline, "size_bytes": one.size, "stored_bytes": one.stored,
        "start_lsn": show_lsn(one.start_lsn), "stop_lsn": None if one.stop_lsn is None else show_lsn(one.stop_lsn),
        "duration_seconds": one.seconds, "parts": len(one.parts), "tablespaces": {str(k): v for k, v in one.tablespaces.items()},
        "system_identifier": one.system, "postgresql": one.version or None, "tool": one.tool, "complete": one.complete,
        "usable": why is None, "why_not": why, "drill": one.drill}


def row(one: dict[str, Any]) -> tuple[str, ...]:
    """The cells of one backup."""
    finished = (one["finished"] or "")[:19].replace("T", " ") + (" ~" if one["finished_is_guessed"] else "")
    took = "" if one["duration_seconds"] is None else f"{one['duration_seconds']:.0f} s"
    drill = str((one["drill"] or {}).get("result", "")).replace("failed", "FAILED")
    return (one["name"], finished, str(one["timeline"]), size(one["size_bytes"]), size(one["stored_bytes"]), one["start_lsn"],
            one["stop_lsn"] or "", took, drill, one["tool"], one["why_not"] or "yes")


def render(shapes: list[dict[str, Any]]) -> str:
    """The table."""
    if not shapes:
        return "no base backup yet\n"
    lines = table(HEAD, [row(one) for one in shapes], right=("TL", "SIZE", "STORED", "TOOK"))
    if any(one["finished_is_guessed"] for one in shapes):
        lines += ["", "~ the time is the store's: the backup itself does not say when it was finished"]
    return "\n".join(lines) + "\n"


def run_list(spec: Spec, arguments: argparse.Namespace) -> None:
    found = look(spec)
    shapes = [shape(found, one) for one in found.backups]
    if arguments.output == "json":
        print(json.dumps({"version": 1, "backups": shapes}, indent=2))
    else:
        print(render(shapes), end="")


def run_show(spec: Spec, arguments: argparse.Namespace) -> None:
    found = look(spec)
    one = found.find(arguments.name)
    if one is None:
        raise Trouble(Exit.USAGE, f"there is no backup {arguments.name}", "", "`spilo backup list` shows which there are")
    reach = found.reach(one) if found.why_not(one) is None else None
    value = shape(found, one) | {"reach": reach and {
        "timeline": reach.timeline, "lsn": show_lsn(reach.end), "missing": reach.hole,
        "archived": show_time(reach.until).replace(" ", "T") if reach.until else None}}
    if arguments.output == "json":
        print(json.dumps({"version": 1, "backup": value}, indent=2))
        return
    for key, text in value.items():
        shown = json.dumps(text) if isinstance(text, dict) else "-" if text is None else str(text)
        print(f"{key.replace('_', ' '):<20} {shown}")
