"""What a member is told of its object stores: the folders of variables (envdir), and its part of steward.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bootstrap import storage
from bootstrap.kinds import Secret

if TYPE_CHECKING:
    from bootstrap.plan import Node

# Rows whose variable has the same name for wal-e and boto3.
_SAME = ("AWS_REGION", *storage.CREDENTIALS, "AWS_ENDPOINT_URL_STS", "WALE_S3_SSE_KMS_ID")


def _text(value: Any) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    return str(value).lower() if isinstance(value, bool) else str(value)


def _endpoint(values: Mapping[str, Any], prefix: str) -> str | None:
    """The endpoint in WAL-E's spelling, None for AWS."""
    spelled: str | None = storage.own(values, "WALE_S3_ENDPOINT", prefix)
    url: str | None = storage.own(values, "AWS_ENDPOINT", prefix)
    if spelled or not url:
        return spelled
    style = "virtualhost" if storage.own(values, "AWS_S3_FORCE_PATH_STYLE", prefix) is False else "path"
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}+{style}://{host}:{port}"


def variables(node: Node, prefix: str = "") -> dict[str, str]:
    """The environment of everything that uses the store `prefix`, wal-e as well as our own programs."""
    values = node.settings
    given = {name: storage.own(values, name, prefix) for name in _SAME}
    found = {name: _text(value) for name, value in given.items() if value is not None}
    found["WALE_S3_PREFIX"] = storage.place(values, prefix)
    endpoint = _endpoint(values, prefix)
    if endpoint:
        found["WALE_S3_ENDPOINT"] = endpoint
    encryption = storage.own(values, "WALE_S3_SSE", prefix)
    if storage.own(values, "WALE_DISABLE_S3_SSE", prefix):
        encryption = "none"
    found["WALE_S3_SSE"] = encryption or ("none" if endpoint else "AES256")
    if authority := storage.own(values, "WALG_S3_CA_CERT_FILE", prefix):
        found["AWS_CA_BUNDLE"] = authority
    found |= {name: _text(values[name]) for name in ("http_proxy", "https_proxy", "no_proxy") if values[name] is not None}
    return found | {
        "PGHOST": str(node.layout.sockets),
        "PGPORT": str(values["PGPORT"]),
        "PGUSER": values["PGUSER_SUPERUSER"],
        "PGDATABASE": "postgres",
    }


def folder(node: Node, prefix: str = "") -> Path:
    """The folder with the variables of the store `prefix`, beside the cluster's own."""
    own = node.layout.archive_environment
    if not prefix:
        return own
    scope = node.settings[f"{prefix}SCOPE"] or "other"
    return own.with_name(f"{own.name}-{prefix.strip('_').lower()}-{scope}")


def stores(node: Node) -> Iterator[str]:
    """The prefixes of the stores that this member uses."""
    values = node.settings
    if storage.archived(values):
        yield ""
    if storage.cloned(values) == "CLONE_WITH_WALE":
        yield "CLONE_"
    if storage.followed(values):
        yield "STANDBY_"


def spec(node: Node) -> dict[str, Any]:
    """The parts `store`, `clone` and `follow` of steward.json; runtime/spec.py documents them."""
    values, layout = node.settings, node.layout
    used = set(stores(node))
    store = {
        "folder": str(folder(node)),
        "socket": str(layout.archive_socket),
        "status": str(layout.run / "archive.json"),
        "spool": str(layout.pgroot / "spool"),
        "scratch": str(layout.pgroot / "scratch"),
        "uploads": values["UPLOAD_CONCURRENCY"],
        "downloads": values["DOWNLOAD_CONCURRENCY"],
        "timeout": values["WAL_RESTORE_TIMEOUT"],
        "schedule": values["BACKUP_SCHEDULE"],
        "verify_schedule": values["VERIFY_SCHEDULE"],
        "keep_count": values["BACKUP_NUM_TO_RETAIN"],
        "keep_days": values["BACKUP_DAYS_TO_RETAIN"],
        "rate": values["BACKUP_RATE_LIMIT"] or 0,
        "threshold_megabytes": values["WALE_BACKUP_THRESHOLD_MEGABYTES"],
        "threshold_percentage": values["WALE_BACKUP_THRESHOLD_PERCENTAGE"],
    }
    return {"store": store if "" in used else None, "clone": _clone(node, used), "follow": _follow(node, used)}


def _source(node: Node, prefix: str) -> dict[str, Any]:
    return {"folder": str(folder(node, prefix)), "socket": str(node.layout.source_socket),
            "spool": str(node.layout.pgroot / "spool-source")}


def _clone(node: Node, used: set[str]) -> dict[str, Any] | None:
    values = node.settings
    method = storage.cloned(values)
    if method is None:
        return None
    targets = [(name.removeprefix("CLONE_TARGET_").lower(), str(values[name]))
               for name in storage.CLONE_TARGETS if values[name] is not None]
    password = values["CLONE_PASSWORD"]
    return {
        "scope": values["CLONE_SCOPE"],
        "source": _source(node, "CLONE_") if "CLONE_" in used else None,
        "target": list(targets[0]) if targets else None,
        "timeline": values["CLONE_TARGET_TIMELINE"],
        "inclusive": values["CLONE_TARGET_INCLUSIVE"],
        "host": values["CLONE_HOST"], "port": values["CLONE_PORT"], "user": values["CLONE_USER"],
        "password": password.reveal() if password else None,
    }


def _follow(node: Node, used: set[str]) -> dict[str, Any] | None:
    values = node.settings
    if not (values["STANDBY_HOST"] or "STANDBY_" in used):
        return None
    return {
        "source": _source(node, "STANDBY_") if "STANDBY_" in used else None,
        "host": values["STANDBY_HOST"], "port": values["STANDBY_PORT"], "slot": values["STANDBY_PRIMARY_SLOT_NAME"],
        "downloads": values["DOWNLOAD_CONCURRENCY"],
        "threshold_megabytes": values["WALE_BACKUP_THRESHOLD_MEGABYTES"],
        "threshold_percentage": values["WALE_BACKUP_THRESHOLD_PERCENTAGE"],
    }
