"""Makes sure that our data and the cluster in etcd are of one kind, and that a member without data gets the right one.

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
from runtime import spec as specification
from runtime.governor.begin import Begin
from runtime.governor.cluster import Cluster
from runtime.log import Log
from runtime.trouble import Exit, Trouble, run

LOG = Log("governor")
ENDING = 5.0  # seconds


def check(config: dict[str, Any], cluster: Cluster) -> None:
    """Raise REFUSED when the data directory belongs to another cluster than the one in etcd."""
    data = Path(config["postgresql"]["data_dir"])
    theirs = cluster.get("initialize")
    ours = postgres.system_identifier(data)
    if theirs and ours and theirs != ours:
        raise Trouble(
            Exit.REFUSED,
            "this data directory belongs to another cluster and is left alone",
            f"system identifier {ours} in {data}, {theirs} in etcd at {cluster.root}initialize",
            "to join the cluster in etcd, start with an empty volume\n"
            "to run this data as a cluster of its own, give it another SCOPE",
        )


def main() -> int:
    path, last_words, spec_path = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    with open(path, encoding="utf-8") as file:
        config = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))

    def prepare() -> int:
        if last_words.exists():  # we refused; supervisord starts us once more before the sentinel has ended the container
            time.sleep(ENDING)
        spec = specification.load(spec_path)
        cluster = Cluster(config, spec, LOG)
        code = Begin(cluster, spec, spec_path, last_words, LOG).run()
        if code == Exit.OK:
            check(config, cluster)
        return code

    code = run(prepare, LOG, last_words)
    if code == Exit.OK:
        last_words.unlink(missing_ok=True)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        arguments = patroni.command(path)
        os.execv(arguments[0], arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
