"""`spilo replica why`: where this member was made from when it was made, and every number that decided it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from runtime.cli.people import size
from runtime.log import timestamp
from runtime.spec import Spec
from runtime.trouble import Exit, Trouble

METHODS = {"from_backup": "from the base backup in the store", "from_leader": "copied from the primary"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("replica", help="how this member was made", description="How this member was made.")
    works = parser.add_subparsers(dest="work", metavar="COMMAND", required=True)
    why = works.add_parser(
        "why", help="why from the store, or from the primary",
        description="The last decision about where this member is made from: a base backup in the store where little WAL "
                    "follows it (WALE_BACKUP_THRESHOLD_MEGABYTES and WALE_BACKUP_THRESHOLD_PERCENTAGE), else the primary.")
    why.add_argument("--output", choices=("text", "json"), default="text", help="text (default) or json (stable)")
    why.set_defaults(run=run)


def run(spec: Spec, arguments: argparse.Namespace) -> None:
    try:
        text = spec.replica_why.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Trouble(Exit.RETRY, "nothing was decided since this member started",
                      f"there is no {spec.replica_why}",
                      "a decision is made when a member without data joins, and there is an archive") from None
    if arguments.output == "json":
        print(text, end="")
        return
    print(page(json.loads(text)), end="")


def page(found: dict[str, Any]) -> str:
    """The decision as a person reads it."""
    outcome = [f"then     {found['outcome']}"] if found["outcome"] else []
    head = [f"{found['member']} {METHODS[found['method']]}, decided {timestamp(found['at'])}",
            f"because  {found['reason']}", *outcome, f"store    {found['store']}"]
    skipped = ("at", "member", "store", "method", "reason", "outcome")
    rows = [f"  {key:<24}{_value(key, value)}" for key, value in found.items() if key not in skipped]
    return "\n".join([*head, *rows]) + "\n"


def _value(key: str, value: Any) -> str:
    if value is None:
        return "not known"
    if key.endswith("_bytes"):
        return f"{value} ({size(value)})"
    return timestamp(value) if key.endswith("_finished") else str(value)
