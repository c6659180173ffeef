"""What the boot tells the tools (steward.json): one typed view, so that no tool spells a key twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT = "/run/spilo/steward.json"
# Where etcd keeps, beside Patroni's own keys, what the environment last said of the cluster-wide configuration.
ENVIRONMENT = "spilo_environment"


@dataclass(frozen=True)
class Request:
    """A certificate that a member wants for itself: `path` of the certificate (the key lies beside it, suffix .key),
    `names` DNS names and addresses, the first of them the common name."""

    path: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Role:
    """A database role and the password that it is to have."""

    name: str
    password: str


@dataclass(frozen=True)
class Spec:
    """`watched` maps our copy of a file to the one that the user gave; `dynamic` is the cluster-wide part of Patroni's
    configuration; `roles` has the keys superuser, standby, admin."""

    scope: str
    member: str
    patroni: Path
    log: Path
    volume: Path
    authority: Path
    trusted: Path
    certificates: tuple[Request, ...]
    watched: dict[str, str]
    api_port: int
    api_user: str
    api_password: str
    sockets: str
    port: int
    data: Path
    roles: dict[str, Role]
    dynamic: dict[str, Any]


def load(path: str = DEFAULT) -> Spec:
    """The specification of this member; OSError where there is none (not booted yet, or not inside the appliance)."""
    raw = json.loads(Path(path).read_text(encoding="utf-8"))
    return Spec(
        scope=raw["scope"], member=raw["member"], patroni=Path(raw["patroni"]), log=Path(raw["log"]),
        volume=Path(raw["volume"]),
        authority=Path(raw["authority"]), trusted=Path(raw["trusted"]),
        certificates=tuple(Request(one["path"], tuple(one["names"])) for one in raw["certificates"]),
        watched=raw["watched"],
        api_port=raw["api"]["port"], api_user=raw["api"]["username"], api_password=raw["api"]["password"],
        sockets=raw["postgres"]["sockets"], port=raw["postgres"]["port"], data=Path(raw["postgres"]["data"]),
        roles={key: Role(**role) for key, role in raw["roles"].items()},
        dynamic=raw["dynamic"],
    )
