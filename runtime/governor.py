"""Starts Patroni, the governor, once it is safe to: our data and the cluster in etcd must be of one kind.

Then it becomes Patroni (exec), with stdin from /dev/null: backends of a killed postmaster that wait for a replica read
stdin, and would hold the shared memory for ever on a pipe that stays open.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from runtime import patroni, postgres
from runtime.etcd import Etcd, Unreachable
from runtime.log import Log
from runtime.tool import tool
from runtime.trouble import Exit, Trouble, run

LOG = Log("governor")
SAY_AGAIN = 30.0  # seconds between two lines of log while etcd does not answer


def command(config: str, last_words: str) -> tuple[str, ...]:
    """Command line; `config` is Patroni's file, `last_words` where to leave the reason of a refusal."""
    return tool("runtime.governor", config, last_words)


def ask(etcd: Etcd, key: str) -> str | None:
    """The value of a key, None if etcd says that there is none. Asks until etcd answers: Patroni could do nothing
    without it either, and a store that is out of reach is not an empty one."""
    silent = told = time.monotonic()
    while True:
        try:
            return etcd.get(key)
        except Unreachable as error:
            now = time.monotonic()
            if now - told > (1 if told == silent else SAY_AGAIN):
                LOG.warning("waiting for etcd", seconds=round(now - silent), error=error)
                told = now
            time.sleep(0.05 if now - silent < SAY_AGAIN else 1)


def check(config: dict[str, Any]) -> None:
    """Raise REFUSED when the data directory belongs to another cluster than the one in etcd."""
    data = Path(config["postgresql"]["data_dir"])
    key = f"/{config['namespace'].strip('/')}/{config['scope']}/initialize"
    theirs = ask(Etcd(config["etcd3"]), key)
    ours = postgres.system_identifier(data)
    if theirs and ours and theirs != ours:
        raise Trouble(
            Exit.REFUSED,
            "this data directory belongs to another cluster and is left alone",
            f"system identifier {ours} in {data}, {theirs} in etcd at {key}",
            "to join the cluster in etcd, start with an empty volume\n"
            "to run this data as a cluster of its own, give it another SCOPE",
        )


def main() -> int:
    path, last_words = sys.argv[1], Path(sys.argv[2])
    with open(path, encoding="utf-8") as file:
        config = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    code = run(lambda: check(config), LOG, last_words)
    if code == Exit.OK:
        last_words.unlink(missing_ok=True)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        arguments = patroni.command(path)
        os.execv(arguments[0], arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
