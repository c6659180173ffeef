"""`spilo history`: every change of the timeline, that is every failover and switchover, as Patroni recorded it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from runtime.api import Api
from runtime.cli import ask
from runtime.cli.people import table
from runtime.spec import Spec


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "history", help="failovers and switchovers so far",
        description="Failovers and switchovers so far: the timeline that began, where the one before it ended, when, "
                    "and which member became primary.")
    parser.add_argument("--output", choices=("table", "json"), default="table", help="table (default) or json")
    parser.set_defaults(run=run)


def events(lines: list[list[Any]]) -> list[dict[str, Any]]:
    """GET /history as dicts: timeline (the new one), previous, lsn (where the previous ended, in bytes), at (RFC 3339
    or null), primary (name or null), reason. Patroni's lines are: ended timeline, lsn, reason[, time[, member]]."""
    return [{"timeline": line[0] + 1, "previous": line[0], "lsn": line[1], "at": line[3] if len(line) > 3 else None,
             "primary": line[4] if len(line) > 4 else None, "reason": line[2]} for line in lines]


def lsn(place: int) -> str:
    """A WAL position as PostgreSQL writes it."""
    return f"{place >> 32:X}/{place & 0xFFFFFFFF:X}"


def render(found: list[dict[str, Any]]) -> str:
    """The table, oldest event first."""
    if not found:
        return "no failover or switchover yet\n"
    rows = [(str(one["timeline"]), lsn(one["lsn"]), (one["at"] or "")[:19].replace("T", " "), one["primary"] or "",
             one["reason"]) for one in found]
    return "\n".join(table(("TIMELINE", "FROM LSN", "AT", "PRIMARY", "REASON"), rows, right=("TIMELINE",))) + "\n"


def run(spec: Spec, arguments: argparse.Namespace) -> None:
    found = events(ask.get(Api(spec), "/history", "this member", list))
    if arguments.output == "json":
        print(json.dumps({"version": 1, "history": found}, indent=2))
    else:
        print(render(found), end="")
