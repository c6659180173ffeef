"""Entry point of `spilo`: reads the command line, hands over to the command, and turns a Trouble into plain lines."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from runtime.cli import access, ask, backup, history, logs, maintenance, metrics, promote, recover, replica, restart, status, switchover
from runtime.cli.people import serve
from runtime.spec import DEFAULT

EPILOG = """examples:
  docker exec -it NODE spilo status              how the cluster is
  docker exec NODE spilo status --output json    the same for programs
  docker exec -it NODE spilo switchover          another member becomes primary
  docker exec -it NODE spilo restart --all --pending-only
                                                 bring settings that wait into force
  docker exec -it NODE spilo psql mydb           SQL as superuser, on this member
  docker exec NODE spilo ca > ca.crt             what clients need to check the servers
  docker exec -it NODE spilo logs -f --program patroni

exit codes: 0 done; 2 usage; 3 the members' settings differ; 4 not now, try again
(status: no primary); 5 refused as unsafe, or not confirmed; 6 a bug; 8 a backup
is not proven.
`spilo COMMAND --help` says more about a command.
"""


class Parser(argparse.ArgumentParser):
    """Options are spelled out, so that a new one never changes what an old script means; holds for subcommands too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})


def parser() -> Parser:
    """All commands; each module adds its own."""
    root = Parser(prog="spilo", description="Looks at and operates this PostgreSQL cluster, from any of its members.",
                  epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    root.add_argument("--spec", metavar="PATH", default=os.environ.get("SPILO_STEWARD", DEFAULT),
                      help=f"what the boot wrote for the tools (default: $SPILO_STEWARD, or {DEFAULT})")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (status, metrics, switchover, promote, recover, replica, restart, maintenance, backup, history, logs, access):
        module.add(commands)
    return root


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """(ours, psql's): what follows `psql` is not for argparse, which would look for options of ours in it."""
    index = 0
    while index < len(argv) and argv[index].startswith("-"):
        index += 2 if argv[index] == "--spec" else 1
    if index < len(argv) and argv[index] == "psql":
        return argv[: index + 1], argv[index + 1:]
    return argv, []


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line; `run` is the command's function, `rest` the arguments for psql."""
    ours, rest = split(argv)
    arguments = parser().parse_args(ours)
    arguments.rest = rest
    return arguments


def main() -> int:
    arguments = parse(sys.argv[1:])
    return serve(lambda: arguments.run(ask.load(arguments.spec), arguments))


if __name__ == "__main__":
    sys.exit(main())
