"""Who still has data of the cluster: the key `spilo/holders` in etcd, by which a lost cluster is told from one that is away.

The primary's steward writes it (runtime/steward/holders.py). A member that boots with an empty data directory takes its own
name out. So an empty list proves that nobody has data any more, and that the archive is all there is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runtime.etcd import Etcd

KEY = "spilo/holders"
CONSENT = "spilo/recover"  # a person said that nobody has data any more, where etcd does not even know of a cluster


@dataclass(frozen=True)
class Holders:
    """`members` have data of the cluster with the identifier `system`."""

    system: str
    members: tuple[str, ...]

    @classmethod
    def parse(cls, text: str | None) -> Holders | None:
        """None where nobody has recorded it, or nobody can read it: then nothing is known."""
        try:
            value: Any = json.loads(text or "null")
            return cls(str(value["system"]), tuple(map(str, value["members"])))
        except (ValueError, TypeError, KeyError):
            return None

    def text(self) -> str:
        return json.dumps({"system": self.system, "members": sorted(self.members)})

    def without(self, names: Iterable[str]) -> Holders:
        gone = set(names)
        return Holders(self.system, tuple(one for one in self.members if one not in gone))


def place(config: dict[str, Any]) -> str:
    """Where Patroni keeps the cluster in etcd, from Patroni's configuration; ends in a slash."""
    return f"/{config['namespace'].strip('/')}/{config['scope']}/"


def renounce(etcd: Etcd, root: str, member: str) -> bool:
    """Take a member out, because it has no data; whether it was there. Raises etcd.Unreachable."""
    while True:
        text = etcd.get(root + KEY)
        known = Holders.parse(text)
        if text is None or known is None or member not in known.members:
            return False
        if etcd.replace(root + KEY, text, known.without([member]).text()):
            return True
