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
class StoreSpec:
    """This cluster's archive. `folder` has the variables (envdir), `socket` is the resident archiver's, `status` the file
    in which it says how it is, `spool` for WAL fetched ahead, `scratch` for restore drills; `rate` in bytes per second, 0:
    no limit; `timeout` in seconds."""

    folder: Path
    socket: Path
    status: Path
    spool: Path
    scratch: Path
    uploads: int
    downloads: int
    timeout: int
    schedule: str
    verify_schedule: str
    keep_count: int
    keep_days: int
    rate: int
    threshold_megabytes: int
    threshold_percentage: int


@dataclass(frozen=True)
class SourceSpec:
    """Another cluster's archive, which is only read; as in StoreSpec."""

    folder: Path
    socket: Path
    spool: Path


@dataclass(frozen=True)
class CloneSpec:
    """What to start as a copy of. `source`: an archive, None: the running cluster at `host`. `target` is a pair such as
    ("time", "2026-01-31 13:45:00+00:00"), None: the end; `timeline` a number or "latest"."""

    scope: str | None
    source: SourceSpec | None
    target: tuple[str, str] | None
    timeline: str
    inclusive: bool
    host: str | None
    port: int
    user: str
    password: str | None


@dataclass(frozen=True)
class FollowSpec:
    """The cluster that this one follows, by streaming from `host`, through its archive, or both; the rest as in StoreSpec,
    for members that are made from its archive."""

    source: SourceSpec | None
    host: str | None
    port: int
    slot: str | None
    downloads: int = 4
    threshold_megabytes: int = 10240
    threshold_percentage: int = 30


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
    store: StoreSpec | None = None
    clone: CloneSpec | None = None
    follow: FollowSpec | None = None

    @property
    def run(self) -> Path:
        """The folder of everything that was generated at boot; on tmpfs, for our own user only."""
        return self.patroni.parent

    @property
    def alone(self) -> bool:
        """Whether this member has an etcd of its own, so that there cannot be another member."""
        return (self.run / "etcd.yml").exists()

    @property
    def replica_why(self) -> Path:
        """The file with the last decision about where this member is made from."""
        return self.log.parent / "replica-why.json"


def _paths(raw: dict[str, Any]) -> dict[str, Any]:
    names = ("folder", "socket", "status", "spool", "scratch")
    return {key: Path(value) if key in names else value for key, value in raw.items()}


def _source(raw: dict[str, Any] | None) -> SourceSpec | None:
    return SourceSpec(**_paths(raw)) if raw else None


def _clone(raw: dict[str, Any] | None) -> CloneSpec | None:
    if raw is None:
        return None
    target = tuple(raw["target"]) if raw["target"] else None
    return CloneSpec(**{**raw, "source": _source(raw["source"]), "target": target})


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
        store=StoreSpec(**_paths(raw["store"])) if raw["store"] else None,
        clone=_clone(raw["clone"]),
        follow=FollowSpec(**{**raw["follow"], "source": _source(raw["follow"]["source"])}) if raw["follow"] else None,
    )
