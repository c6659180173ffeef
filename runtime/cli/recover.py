"""`spilo recover`: a person says that the data of members that are waited for is gone for good, so that the archive counts."""

from __future__ import annotations

import argparse
import json

import yaml

from runtime.cli.people import confirm
from runtime.etcd import Etcd, Unreachable
from runtime.holders import CONSENT, KEY, Holders, place
from runtime.spec import Spec
from runtime.trouble import Exit, Trouble


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "recover", help="give up members' data that is gone for good: the archive counts",
        description="For a cluster without a primary whose members wait for one that has data. When the volumes of those are "
                    "gone for good, this says so, and the members that wait bring back what the archive has. What had not "
                    "reached the archive is lost then.")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.set_defaults(run=run)


def run(spec: Spec, arguments: argparse.Namespace) -> None:
    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "this cluster has no archive to recover from", "WAL_S3_BUCKET is not given")
    with open(spec.patroni, encoding="utf-8") as file:
        config = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    etcd, root = Etcd(config["etcd3"]), place(config)
    try:
        give_up(etcd, root, arguments.yes)
    except Unreachable as error:
        raise Trouble(Exit.RETRY, "etcd does not answer", str(error)) from None


def give_up(etcd: Etcd, root: str, yes: bool) -> None:
    """Empty the list of the members that have data, where there is no primary."""
    leader, system, text = (etcd.get(root + name) for name in ("leader", "initialize", KEY))
    if leader is not None:
        raise Trouble(Exit.REFUSED, "the cluster has a primary", f"it is {leader}, or its lock has not ended yet",
                      "members without data are made from it; see `spilo status`")
    if system == "":
        raise Trouble(Exit.REFUSED, "another member is just making the cluster", f"{root}initialize is empty")
    if system is None:
        confirm("etcd knows of no cluster. Does nobody have its data any more, so that the archive is all there is?", yes)
        if not etcd.change({root + "initialize": None}, {root + CONSENT: "yes"}):
            raise Trouble(Exit.RETRY, "the cluster has changed in this moment", "", "look again: `spilo status`")
        print("a member that has an empty volume recovers the cluster from the archive now")
        return
    known = Holders.parse(text)
    members = known.members if known and known.system == system else None
    if members == ():
        print("no member has data any more; the archive counts already")
        return
    whose = ", ".join(members) if members else "members that nobody has recorded"
    confirm(f"Give up what only {whose} had of the cluster {system}, and take what the archive has?", yes)
    new = Holders(system, ()).text()
    done = etcd.change({root + KEY: text, root + "leader": None, root + "initialize": system}, {root + KEY: new})
    if not done:
        raise Trouble(Exit.RETRY, "the cluster has changed in this moment", json.dumps({"members": members}), "look again: `spilo status`")
    print(f"the data of {whose} is given up; a member that has an empty volume recovers the cluster from the archive now")
