"""`spilo backup verify`: a restore drill now, on this member."""

from __future__ import annotations

import argparse
import signal
import subprocess

from runtime.spec import Spec
from runtime.tool import tool
from runtime.trouble import Exit, Trouble


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `spilo backup`."""
    parser = commands.add_parser(
        "verify", help="restore a backup here, to prove that it can be",
        description="Restores a backup into scratch space on this member, replays the archive to its end, checks what came "
                    "back, and records the result. The running member is not touched. "
                    "Exit code 0 only if all is well, 8 if the drill failed or was skipped, 4 if it could not be done now.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="as `spilo backup list` shows it (default: the newest)")
    parser.set_defaults(run=run)


def run(spec: Spec, arguments: argparse.Namespace) -> int:
    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "this cluster has no object store", "WAL_S3_BUCKET is not given")
    name = [arguments.name] if arguments.name else []
    with subprocess.Popen(tool("runtime.backup", "verify", f"--spec={arguments.spec}", *name)) as child:
        try:
            return child.wait()
        except BaseException:  # Ctrl-C reaches the child too; either way it is asked once, and cleans up before it ends
            child.send_signal(signal.SIGTERM)
            child.wait()
            raise
