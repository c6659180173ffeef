"""Settings of the object store: archives and backups, the source of a clone, the cluster that a standby cluster follows.

The same rows describe all three stores. Those of the two others have a prefix (`CLONE_`, `STANDBY_`), and where one is
not given the cluster's own value stands for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bootstrap import kinds, storekinds
from bootstrap.kinds import Kind
from bootstrap.table import Setting
from bootstrap.together import Problem

PREFIXES = ("", "CLONE_", "STANDBY_")
# name, kind, documentation, default in words, further names
_STORE: tuple[tuple[str, Kind, str, str, tuple[str, ...]], ...] = (
    ("WAL_S3_BUCKET", storekinds.BUCKET, "The bucket. The archive lies at `s3://BUCKET/spilo/{prefix}SCOPE{suffix}/wal/PGVERSION`.",
     "", ()),
    ("WALE_S3_PREFIX", storekinds.S3_URL, "The whole place of the archive, in place of the bucket and the rule above.", "",
     ("WALG_S3_PREFIX",)),
    ("WAL_BUCKET_SCOPE_PREFIX", storekinds.KEY_PART, "The `{prefix}` of that rule.", "empty", ()),
    ("WAL_BUCKET_SCOPE_SUFFIX", storekinds.KEY_PART, "The `{suffix}` of that rule.", "empty", ()),
    ("AWS_ENDPOINT", storekinds.HTTP_URL, "Where the S3 service is, if it is not AWS.", "AWS", ()),
    ("WALE_S3_ENDPOINT", storekinds.WALE_ENDPOINT, "The same in WAL-E's spelling.", "", ()),
    ("AWS_S3_FORCE_PATH_STYLE", kinds.FLAG, "Whether the bucket is part of the path (`true`) or of the host name.",
     "true with an endpoint", ()),
    ("AWS_REGION", kinds.TEXT, "Region of the bucket.", "us-east-1", ()),
    ("AWS_ACCESS_KEY_ID", kinds.SECRET, "Access key.", "the credentials that boto3 finds: files, web identity, container, instance role",
     ()),
    ("AWS_SECRET_ACCESS_KEY", kinds.SECRET, "Its secret.", "", ()),
    ("AWS_SESSION_TOKEN", kinds.SECRET, "Its session token, if it is a temporary one.", "", ()),
    ("AWS_PROFILE", kinds.TEXT, "Profile in the files below.", "", ()),
    ("AWS_SHARED_CREDENTIALS_FILE", kinds.PATH, "File with credentials.", "", ()),
    ("AWS_CONFIG_FILE", kinds.PATH, "File with boto3's configuration.", "", ()),
    ("AWS_ROLE_ARN", kinds.TEXT, "Role to assume with a web identity.", "", ()),
    ("AWS_ROLE_SESSION_NAME", kinds.TEXT, "Name of that session.", "", ()),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", kinds.PATH, "File with the web identity. Read again while running.", "", ()),
    ("AWS_ENDPOINT_URL_STS", storekinds.HTTP_URL, "Where the STS service is, if it is not AWS.", "AWS", ()),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", kinds.TEXT, "Set by ECS.", "", ()),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", storekinds.HTTP_URL, "Set by EKS.", "", ()),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", kinds.PATH, "Set by EKS. Read again while running.", "", ()),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", storekinds.HTTP_URL, "Where the instance's metadata is (IMDSv2).", "AWS", ()),
    ("AWS_EC2_METADATA_DISABLED", kinds.FLAG, "Do not ask the instance for credentials.", "false", ()),
    ("WALE_DISABLE_S3_SSE", kinds.FLAG, "No encryption by the store.", "true with an endpoint", ("WALG_DISABLE_S3_SSE",)),
    ("WALE_S3_SSE", kinds.choice("AES256", "aws:kms", "none"), "Encryption by the store.", "AES256, none with an endpoint",
     ("WALG_S3_SSE",)),
    ("WALE_S3_SSE_KMS_ID", kinds.TEXT, "Key for `aws:kms`.", "the bucket's", ("WALG_S3_SSE_KMS_ID",)),
    ("WALG_S3_CA_CERT_FILE", kinds.PATH, "File with the authority that signed the endpoint's certificate.",
     "the system's authorities", ("AWS_CA_BUNDLE",)),
)
STORE_NAMES = tuple(name for name, *_ in _STORE)
# Credentials belong together: one of another account must not be mixed with one of this.
CREDENTIALS = tuple(name for name in STORE_NAMES if name.startswith("AWS_") and name not in (
    "AWS_ENDPOINT", "AWS_S3_FORCE_PATH_STYLE", "AWS_REGION", "AWS_ENDPOINT_URL_STS"))
PLACE = ("WAL_S3_BUCKET", "WALE_S3_PREFIX")


def _rows(prefix: str, group: str) -> tuple[Setting, ...]:
    fallback = "this cluster's own" if prefix else ""
    return tuple(Setting(prefix + name, kind, doc, group, None, fallback or shown, tuple(prefix + one for one in aliases))
                 for name, kind, doc, shown, aliases in _STORE)


TABLE: tuple[Setting, ...] = (
    *_rows("", "archive"),
    Setting("http_proxy", kinds.TEXT, "Proxy for the object store.", "archive", aliases=("HTTP_PROXY",)),
    Setting("https_proxy", kinds.TEXT, "Proxy for the object store over TLS.", "archive", aliases=("HTTPS_PROXY",)),
    Setting("no_proxy", kinds.TEXT, "Hosts without a proxy.", "archive", aliases=("NO_PROXY",)),
    Setting("WALE_ENV_DIR", kinds.PATH, "Folder with the variables for `envdir DIR wal-e ...`.", "archive",
            shown="`$RW_DIR/etc/wal-e.d/env`", aliases=("WALG_ENV_DIR",)),
    Setting("UPLOAD_CONCURRENCY", storekinds.COUNT, "How many files are sent at the same time.", "archive", 4,
            aliases=("WALG_UPLOAD_CONCURRENCY",)),
    Setting("DOWNLOAD_CONCURRENCY", storekinds.COUNT, "How many files are fetched at the same time.", "archive", 4,
            aliases=("WALG_DOWNLOAD_CONCURRENCY",)),
    Setting("WAL_RESTORE_TIMEOUT", storekinds.COUNT,
            "Seconds that a replica waits for the object store before it looks elsewhere.", "archive", 5),
    Setting("BACKUP_SCHEDULE", storekinds.CRON, "When base backups are made (cron, in the container's time zone). One is made at "
            "once where there is none yet.", "backup", "0 1 * * *"),
    Setting("BACKUP_NUM_TO_RETAIN", storekinds.COUNT, "The newest so many backups are kept.", "backup", 5),
    Setting("BACKUP_DAYS_TO_RETAIN", kinds.INTEGER, "Backups that any moment of the last so many days needs are kept, however "
            "many those are.", "backup", 7),
    Setting("BACKUP_RATE_LIMIT", storekinds.BYTES, "Bytes per second that a base backup reads at most.", "backup",
            shown="no limit", aliases=("WALG_DISK_RATE_LIMIT",)),
    Setting("VERIFY_SCHEDULE", storekinds.CRON, "When a replica restores the newest backup to prove that it can (cron); `never` "
            "for not at all.", "backup", "0 5 * * 0"),
    Setting("WALE_BACKUP_THRESHOLD_MEGABYTES", kinds.INTEGER, "A new replica is made from the backup if less WAL than this "
            "followed it (MiB) ...", "backup", 10240, aliases=("WALG_BACKUP_THRESHOLD_MEGABYTES",)),
    Setting("WALE_BACKUP_THRESHOLD_PERCENTAGE", kinds.INTEGER, "... and less than this many percent of the backup's size; else "
            "from the primary.", "backup", 30, aliases=("WALG_BACKUP_THRESHOLD_PERCENTAGE",)),
    Setting("CLONE_METHOD", kinds.choice("CLONE_WITH_WALE", "CLONE_WITH_BASEBACKUP"),
            "Start as a copy of another cluster: from its archive, or from the running cluster.", "clone"),
    Setting("CLONE_SCOPE", kinds.SCOPE, "Its name.", "clone"),
    Setting("CLONE_TARGET_TIME", storekinds.MOMENT, "The moment to copy.", "clone", shown="the end of its archive"),
    Setting("CLONE_TARGET_LSN", storekinds.LSN, "The position to copy.", "clone", shown="the end of its archive"),
    Setting("CLONE_TARGET_XID", kinds.INTEGER, "The transaction to copy.", "clone", shown="the end of its archive"),
    Setting("CLONE_TARGET_NAME", kinds.TEXT, "The restore point to copy.", "clone", shown="the end of its archive"),
    Setting("CLONE_TARGET_TIMELINE", storekinds.TIMELINE, "The timeline to follow.", "clone", "latest"),
    Setting("CLONE_TARGET_INCLUSIVE", kinds.FLAG, "Whether the target itself is part of the copy.", "clone", True),
    Setting("CLONE_HOST", kinds.HOST, "Primary or replica to copy from.", "clone"),
    Setting("CLONE_PORT", kinds.PORT, "Its port.", "clone", 5432),
    Setting("CLONE_USER", kinds.ROLE, "Its role for replication.", "clone", "standby"),
    Setting("CLONE_PASSWORD", kinds.SECRET, "The password of that role.", "clone"),
    *_rows("CLONE_", "clone"),
    Setting("STANDBY_SCOPE", kinds.SCOPE, "Follow the cluster of this name through its archive.", "standby"),
    Setting("STANDBY_HOST", kinds.HOST, "Follow the cluster that answers here by streaming.", "standby"),
    Setting("STANDBY_PORT", kinds.PORT, "Its port.", "standby", 5432),
    Setting("STANDBY_PRIMARY_SLOT_NAME", storekinds.SLOT, "A replication slot there, made by a person.", "standby"),
    *_rows("STANDBY_", "standby"),
)
# What only has a meaning with something else that is given.
CLONE_TARGETS = ("CLONE_TARGET_TIME", "CLONE_TARGET_LSN", "CLONE_TARGET_XID", "CLONE_TARGET_NAME")


def archived(values: Mapping[str, Any], prefix: str = "") -> bool:
    """Whether a place for the store is given."""
    return any(values[prefix + name] is not None for name in PLACE)


def cloned(values: Mapping[str, Any]) -> str | None:
    """CLONE_METHOD, given or following from what else is given; None: no clone."""
    method: str | None = values["CLONE_METHOD"]
    if method is None and values["CLONE_SCOPE"] is not None:
        return "CLONE_WITH_BASEBACKUP" if values["CLONE_HOST"] is not None else "CLONE_WITH_WALE"
    return method


def _store_together(values: Mapping[str, Any], prefix: str) -> Iterator[Problem]:
    for one, other in (("WAL_S3_BUCKET", "WALE_S3_PREFIX"), ("AWS_ENDPOINT", "WALE_S3_ENDPOINT")):
        if values[prefix + one] is not None and values[prefix + other] is not None:
            yield Problem(f"{prefix}{one} and {prefix}{other}", "", "only one of them", f"remove {prefix}{other}")
    key, secret = values[prefix + "AWS_ACCESS_KEY_ID"], values[prefix + "AWS_SECRET_ACCESS_KEY"]
    if (key is None) != (secret is None):
        lacking = prefix + ("AWS_ACCESS_KEY_ID" if key is None else "AWS_SECRET_ACCESS_KEY")
        yield Problem(lacking, "not given", "both parts of the access key", f"give {lacking} too, or neither")
    if values[prefix + "WALE_DISABLE_S3_SSE"] and values[prefix + "WALE_S3_SSE"] not in (None, "none"):
        yield Problem(f"{prefix}WALE_S3_SSE", repr(values[prefix + "WALE_S3_SSE"]), f"nothing, with {prefix}WALE_DISABLE_S3_SSE",
                      "remove one of them")


def _clone(values: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Problem]:
    method = cloned(values)
    if method is None:
        for name in given:
            yield Problem(name, "given", "a cluster to clone", f"set CLONE_SCOPE to its name, or remove {name}")
        return
    needs = {"CLONE_WITH_WALE": ("CLONE_SCOPE",), "CLONE_WITH_BASEBACKUP": ("CLONE_HOST", "CLONE_PASSWORD")}[method]
    for name in needs:
        if values[name] is None and not (name == "CLONE_SCOPE" and values["CLONE_WALE_S3_PREFIX"]):
            yield Problem(name, "not given", f"a value, because of {method}", f"give {name}")
    targets = [name for name in CLONE_TARGETS if values[name] is not None]
    if len(targets) > 1:
        yield Problem(" and ".join(targets), "", "one target", f"remove all but {targets[0]}")
    if method == "CLONE_WITH_WALE" and not archived(values, "CLONE_") and values["WAL_S3_BUCKET"] is None:
        yield Problem("CLONE_WAL_S3_BUCKET", "not given", "the bucket of the cluster to clone", "give CLONE_WAL_S3_BUCKET")
    if method == "CLONE_WITH_BASEBACKUP":
        for name in (*targets, *(name for name in given if name.startswith(("CLONE_WAL", "CLONE_AWS")))):
            yield Problem(name, "given", "CLONE_METHOD=CLONE_WITH_WALE, which it belongs to",
                          f"change CLONE_METHOD, or remove {name}")
    if method == "CLONE_WITH_WALE":
        for name in ("CLONE_HOST", "CLONE_PASSWORD"):
            if name in given:
                yield Problem(name, "given", "CLONE_METHOD=CLONE_WITH_BASEBACKUP, which it belongs to",
                              f"change CLONE_METHOD, or remove {name}")


def _standby(values: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Problem]:
    if not given:
        return
    archive = values["STANDBY_SCOPE"] is not None or archived(values, "STANDBY_")
    if values["STANDBY_HOST"] is None and not archive:
        yield Problem(next(iter(given)), "given", "a cluster to follow", "give STANDBY_HOST, STANDBY_SCOPE or both")
    if archive and not archived(values, "STANDBY_") and values["WAL_S3_BUCKET"] is None:
        yield Problem("STANDBY_WAL_S3_BUCKET", "not given", "the bucket of the cluster to follow", "give STANDBY_WAL_S3_BUCKET")
    if archive and values["STANDBY_SCOPE"] is None and values["STANDBY_WALE_S3_PREFIX"] is None:
        yield Problem("STANDBY_SCOPE", "not given", "the name of the cluster to follow", "give STANDBY_SCOPE")
    for name in ("STANDBY_PORT", "STANDBY_PRIMARY_SLOT_NAME"):
        if name in given and values["STANDBY_HOST"] is None:
            yield Problem(name, "given", "STANDBY_HOST, which it belongs to", f"give STANDBY_HOST, or remove {name}")
    if values["PGPASSWORD_STANDBY"] is None:
        yield Problem("PGPASSWORD_STANDBY", "not given", "the password that the role for replication has in the cluster to "
                      "follow: roles come with the data", "give PGPASSWORD_STANDBY and PGPASSWORD_SUPERUSER as they are there")
    if cloned(values):
        yield Problem("CLONE_METHOD", "given", "either a clone or a standby cluster", "remove the CLONE_ or the STANDBY_ settings")


def together(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Problem]:
    """What single values cannot tell."""
    for prefix in PREFIXES:
        if _used(values, prefix):
            yield from _store_together(values, prefix)
    for prefix, judge in (("CLONE_", _clone), ("STANDBY_", _standby)):
        given = {name: values[name] for name, source in sources.items()
                 if name.startswith(prefix) and source != "default" and name not in ("CLONE_METHOD", "CLONE_SCOPE")}
        if prefix == "STANDBY_" and sources["STANDBY_SCOPE"] == "default" and not given:
            continue
        yield from judge(values, given)
    for name in ("BACKUP_SCHEDULE", "VERIFY_SCHEDULE"):
        if sources[name] != "default" and not archived(values):
            yield Problem(name, "given", "a store for the backups", f"give WAL_S3_BUCKET, or remove {name}")
    if archived(values):
        own, others = place(values, ""), [place(values, prefix) for prefix in PREFIXES[1:] if _used(values, prefix)]
        if own in others:
            yield Problem("SCOPE", repr(values["SCOPE"]), "an archive of its own, apart from the one that is read",
                          "give another SCOPE, bucket or WALE_S3_PREFIX")


def followed(values: Mapping[str, Any]) -> bool:
    """Whether this cluster follows another one through that one's archive."""
    return values["STANDBY_SCOPE"] is not None or archived(values, "STANDBY_")


def _used(values: Mapping[str, Any], prefix: str) -> bool:
    if prefix == "CLONE_":
        return cloned(values) == "CLONE_WITH_WALE"
    return followed(values) if prefix else archived(values)


def own(values: Mapping[str, Any], name: str, prefix: str) -> Any:
    """The value of a row of the store `prefix`, or what stands for it."""
    value = values[prefix + name]
    if value is not None or not prefix:
        return value
    if name in CREDENTIALS and any(values[prefix + one] is not None for one in CREDENTIALS):
        return None
    if name in PLACE and (name == "WALE_S3_PREFIX" or archived(values, prefix)):
        return None
    if name in ("AWS_ENDPOINT", "WALE_S3_ENDPOINT") and any(values[prefix + one] for one in ("AWS_ENDPOINT", "WALE_S3_ENDPOINT")):
        return None
    return values[name]


def place(values: Mapping[str, Any], prefix: str) -> str:
    """The place of a store's archive: s3://BUCKET/PATH."""
    whole: str | None = own(values, "WALE_S3_PREFIX", prefix)
    if whole is not None:
        return whole
    scope = values[f"{prefix}SCOPE"] or "spilo"
    before, after = own(values, "WAL_BUCKET_SCOPE_PREFIX", prefix) or "", own(values, "WAL_BUCKET_SCOPE_SUFFIX", prefix) or ""
    return f"s3://{own(values, 'WAL_S3_BUCKET', prefix)}/spilo/{before}{scope}{after}/wal/{values['PGVERSION']}"

