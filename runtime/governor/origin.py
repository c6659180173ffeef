"""Where the data of a member that has none comes from. A pure decision, with the sentence that explains it.

Safety first: an archive is taken for the last word only when it is proven that nobody has more, and an empty cluster is made
only where the archive itself says that there never was another one. In doubt the member waits, and says for what.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from runtime.holders import Holders


class Do(Enum):
    """What the governor does next."""

    START = "start Patroni"
    RECOVER = "recover this cluster from its own archive"
    CLONE = "begin as a copy of another cluster"
    WAIT = "look again later"
    REFUSE = "end, with the reason"


@dataclass(frozen=True)
class Stored:
    """What this cluster's archive says: `state` is empty, usable, unusable, or silent; `text` explains it."""

    state: str
    text: str


SILENT = Stored("silent", "it has not been asked yet")


@dataclass(frozen=True)
class Facts:
    """What is known. `data`: the directory is not empty. `initialize`: the system identifier in etcd, "" while a cluster is
    being made, None where there is none. `leader`: who holds the lock; `alive`: it was seen to be. `settings`: an archive, a
    clone, another cluster to follow are configured. `alone`: no other member can exist; `consent`: a person said that nobody has
    data any more."""

    member: str
    data: bool
    initialize: str | None = None
    leader: str | None = None
    alive: bool = False
    holders: Holders | None = None
    archived: bool = False
    clone: bool = False
    follow: bool = False
    stored: Stored | None = None
    alone: bool = False
    consent: bool = False


@dataclass(frozen=True)
class Verdict:
    """What to do, and why: a constant sentence, what was seen, what a person can do."""

    do: Do
    sentence: str
    seen: str = ""
    hint: str = ""


def asks_store(facts: Facts) -> bool:
    """Whether the archive has to be asked before it can be decided."""
    if facts.data or not facts.archived or facts.leader is not None or facts.initialize == "":
        return False
    return facts.initialize is None or (_proven(facts) and not facts.follow)


def _proven(facts: Facts) -> bool:
    known = facts.holders
    return known is not None and known.system == facts.initialize and not known.members


def decide(facts: Facts) -> Verdict:
    """What to do."""
    return next(_cases(facts))


def _cases(facts: Facts) -> Iterator[Verdict]:
    """The first one holds."""
    primary = f"primary {facts.leader}"
    if facts.data:
        yield Verdict(Do.START, "there is data already")
    if facts.follow and facts.initialize is not None:
        yield Verdict(Do.START, "the cluster that is followed has the data")
    if facts.initialize == "":
        yield Verdict(Do.START, "another member makes the cluster")
    if facts.leader is not None and (facts.alive or facts.initialize is None):
        yield Verdict(Do.START, "the primary has the data", primary)
    if facts.initialize is None:
        yield from _new(facts, facts.stored or SILENT)
    if not facts.archived:
        yield Verdict(Do.START, "without an archive, only a primary can give the data")
    if facts.leader is not None:
        yield Verdict(Do.WAIT, "waiting for the primary to answer, or for its lock to end", primary)
    yield from _lost(facts, facts.stored or SILENT)


def _new(facts: Facts, stored: Stored) -> Iterator[Verdict]:
    """etcd knows of no cluster."""
    if not facts.archived or stored.state == "empty":
        yield Verdict(Do.CLONE, "beginning as a copy") if facts.clone else Verdict(Do.START, "this is a new cluster")
    if stored.state == "silent":
        yield Verdict(Do.WAIT, "waiting for the archive to say whether there was a cluster of this name", stored.text,
                      "an archive that does not answer is not an empty one")
    if facts.clone:
        yield Verdict(Do.REFUSE, "a copy cannot begin where there is an archive already", stored.text,
                      "to recover the cluster that the archive is of, remove the CLONE_ settings\n"
                      "for a copy, give another SCOPE")
    if facts.follow:
        yield Verdict(Do.REFUSE, "a cluster that has an archive already does not begin to follow another one", stored.text,
                      "if it was promoted before everything else was lost, remove the STANDBY_ settings: it is recovered\n"
                      "to follow, give another SCOPE")
    if stored.state == "unusable":
        yield Verdict(Do.REFUSE, "the archive of this cluster is not empty, and cannot be recovered", stored.text,
                      "start a member that still has data first, or give this cluster another SCOPE")
    if not (facts.alone or facts.consent):
        yield Verdict(Do.WAIT, "etcd knows of no cluster, but the archive does: members that have data must come first", stored.text,
                      "if nobody has data any more: `spilo recover` on any member takes what the archive has")
    yield Verdict(Do.RECOVER, "etcd knows of no cluster, so the archive is what there is", stored.text)


def _lost(facts: Facts, stored: Stored) -> Iterator[Verdict]:
    """There is a cluster, and it has no primary."""
    known = facts.holders
    person = "if that data is gone for good: `spilo recover` on any member takes what the archive has"
    if known is None:
        yield Verdict(Do.WAIT, "waiting for a primary: it is not known who has the data of this cluster",
                      f"cluster {facts.initialize}", person)
    elif known.system != facts.initialize:
        yield Verdict(Do.WAIT, "waiting for a primary: what is known of the data is about another cluster",
                      f"cluster {facts.initialize}, members with data of {known.system}", person)
    elif known.members:
        yield Verdict(Do.WAIT, "waiting for a member that has data", f"data on {', '.join(sorted(known.members))}", person)
    elif stored.state == "silent":
        yield Verdict(Do.WAIT, "no member has data any more; waiting for the archive to answer", stored.text)
    elif stored.state == "usable":
        yield Verdict(Do.RECOVER, "no member has data any more, so the archive is what there is", stored.text)
    else:
        yield Verdict(Do.REFUSE, "no member has data any more, and the archive cannot bring it back", stored.text,
                      "bring back the volume of a member, or repair the archive\n"
                      "to give the data up, remove the cluster from etcd (patronictl remove), and use another SCOPE")
