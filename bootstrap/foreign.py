"""Judges the names of environment variables that are no setting: whether somebody meant one of ours."""

from __future__ import annotations

import difflib
import re

# Names of other images that people bring along, and what they are called here.
ELSEWHERE = {
    "POSTGRES_PASSWORD": "PGPASSWORD_SUPERUSER (or PGPASSWORD_ADMIN)",
    "POSTGRES_PASSWORD_FILE": "PGPASSWORD_SUPERUSER_FILE (or PGPASSWORD_ADMIN_FILE)",
    "POSTGRES_USER": "PGUSER_SUPERUSER (or PGUSER_ADMIN)",
    "POSTGRES_HOST_AUTH_METHOD": "no setting: passwords are always asked for",
    "POSTGRES_INITDB_ARGS": "INITDB_LOCALE",
    "POSTGRES_DB": "no setting: create databases with SQL",
    "PATRONI_NAME": "MEMBER_NAME",
    "PATRONI_SCOPE": "SCOPE",
}

# Settings of Spilo whose feature this version does not have. Each promises something about data or placement,
# so that starting without it would be a wrong answer: they are problems, not warnings.
MISSING = re.compile(
    r"((CLONE_|STANDBY_)?(WAL_(GS|GCS|SWIFT)_BUCKET|WALE_.*|WALG_.*|USE_WALG.*)|CLONE_.*|USE_PAUSE_AT_RECOVERY_TARGET|"
    r"STANDBY_.*|LOG_S3_BUCKET|LOG_SHIP_.*|EIP_ALLOCATION|"
    r"CALLBACK_SCRIPT|CRONTAB|PGBOUNCER_.*|PAM_OAUTH2|(CONSUL|ZOOKEEPER|EXHIBITOR)_(HOST|HOSTS|URL)|"
    r"DCS_ENABLE_KUBERNETES_API)"
)


# Names that others use and that look like ours: TLS libraries, etcd's own client, links to a service, base images.
FOREIGN = re.compile(r"VERSION|SSL_CERT_(FILE|DIR)|ETCDCTL_.*|.*_(SERVICE_(HOST|PORT).*|PORT_\d+_.*|TCP_ADDR)")


def judge(name: str, known: set[str]) -> tuple[str, str] | None:
    """(what is expected, fix) for a name that was meant for us, None for one that belongs to somebody else. `known`
    are the names of our settings."""
    if FOREIGN.fullmatch(name):
        return None
    if name in ELSEWHERE:
        return "the name that it has here", f"use {ELSEWHERE[name]}"
    if MISSING.fullmatch(name):
        return "only settings whose feature this version has", f"remove {name}; this version would ignore it"
    if name.startswith("PATRONI_"):
        return "a setting of docs/settings.md", "use the setting for it, or SPILO_CONFIGURATION"
    bare = name.removesuffix("_FILE")
    if bare in known:
        return "a file for secrets and certificates only", f"give the value itself as {bare}"
    near = difflib.get_close_matches(name.upper(), known, 1, 0.87)
    return ("the name of a setting", f"did you mean {near[0]}? Rename or remove it") if near else None
