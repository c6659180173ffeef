"""The only writer of the boot: folders, files and certificates of a Plan, each replaced in one step."""

from __future__ import annotations

import datetime
import fcntl
import os
import shutil
from typing import Any

from bootstrap import derive
from bootstrap.kinds import Secret
from bootstrap.layout import Layout
from bootstrap.plan import Plan
from runtime import postgres
from runtime.authority import renew, write
from runtime.log import Log
from runtime.replica.from_leader import marker
from runtime.trouble import Exit, Trouble


def check_volume(layout: Layout) -> None:
    """Raise REFUSED, with the command that cures it, when the volume cannot be written to."""
    folder = layout.pgroot
    while not folder.exists():
        folder = folder.parent
    if os.access(folder, os.W_OK | os.X_OK):
        return
    owner, us = folder.stat(), f"{os.getuid()}:{os.getgid()}"
    raise Trouble(
        Exit.REFUSED,
        f"the volume at {folder} cannot be written to",
        f"it belongs to {owner.st_uid}:{owner.st_gid} with mode {owner.st_mode & 0o7777:04o}; "
        f"this container runs as {us}",
        f"docker run --rm --user 0 -v VOLUME:{layout.volume} IMAGE chown -R {us} {layout.volume}\n"
        "with the VOLUME (or host folder) and IMAGE of this container, then start it again",
    )


def check_data(layout: Layout, version: str, log: Log) -> None:
    """Raise REFUSED when the data directory is anything but empty or a whole one of this major version.

    The one exception is an unfinished copy of our own, which says so itself: it never held a commit of its own.
    """
    data = layout.pgdata
    if postgres.is_empty(data):
        return
    if marker(data).exists() and not (data / "postmaster.pid").exists():
        log.warning("removing an unfinished copy of the primary, which was never in use", path=data)
        shutil.rmtree(data)
        marker(data).unlink()
        return
    found = postgres.major_version(data)
    if found is None or postgres.system_identifier(data) is None:
        raise Trouble(
            Exit.REFUSED,
            f"{data} is neither empty nor a whole data directory, and is left alone",
            f"{'no PG_VERSION' if found is None else 'no global/pg_control'}; "
            f"it holds {', '.join(sorted(os.listdir(data))[:8])}",
            "if it is the rest of a start that was interrupted and holds nothing of value, remove it:\n"
            f"docker run --rm -v VOLUME:{layout.volume} IMAGE rm -rf {data}\n"
            "(alone, remove the whole volume); otherwise restore it from a backup",
        )
    if found != version:
        raise Trouble(
            Exit.REFUSED,
            f"{data} is of PostgreSQL {found}, this image has {version}, and the data is left alone",
            f"PG_VERSION says {found}",
            f"use an image with PostgreSQL {found}, or upgrade the data with pg_upgrade first",
        )


def claim(layout: Layout) -> int:
    """Take the volume for this container alone, for as long as the returned file stays open; raise REFUSED if another
    one has it.

    PostgreSQL's own guard (postmaster.pid) cannot see a server in another container, and two servers on one data
    directory destroy it. flock(2) holds across containers, and ends with the process whatever way that ends.
    """
    layout.pgroot.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(layout.pgroot / "in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Trouble(Exit.REFUSED, f"another container runs on the volume at {layout.volume}",
                      f"{layout.pgroot / 'in-use'} is locked",
                      "stop the other container, or give this one a volume of its own") from None
    os.set_inheritable(lock, True)  # PID 1 keeps it open across exec
    return lock


def check_run(layout: Layout) -> None:
    """Raise REFUSED when the place for generated files cannot be written to (--read-only without a tmpfs)."""
    for folder in (layout.run, layout.sockets):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise Trouble(Exit.REFUSED, f"{folder} cannot be written to", str(error.strerror),
                          "with --read-only, add --tmpfs /run --tmpfs /tmp") from None


def kept_secret(layout: Layout) -> Secret | None:
    """The secret that a member alone made for itself at its first boot, or None."""
    try:
        return Secret(layout.credentials.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Trouble(Exit.REFUSED, "the secret on the volume cannot be read",
                      f"{layout.credentials}: {error.strerror}",
                      f"make it readable for uid {os.getuid()} only: chmod 600") from None


def keep_secret(layout: Layout) -> Secret:
    """Make the secret of a member that stands alone, and keep it on the volume, 0600."""
    secret = derive.new_secret()
    layout.credentials.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(layout.credentials, secret.reveal().encode() + b"\n", 0o600)
    return secret


def apply(plan: Plan, layout: Layout) -> None:
    """Write everything that the plan says. What was generated by an earlier boot is replaced, or gone."""
    for stale in (layout.run / "tls", layout.last_words):
        shutil.rmtree(stale, ignore_errors=True)
    for folder in plan.folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in plan.files:
        write(file.path, file.content, file.mode)
    now = datetime.datetime.now(datetime.UTC)
    for request in plan.certificates:
        renew(request, layout.authority, now)


def masked(value: Any, secrets: tuple[str, ...]) -> Any:
    """A text, or a tree of mappings and lists, with every secret replaced; the longest first, so that none shows in
    part."""
    if isinstance(value, dict):
        return {key: masked(one, secrets) for key, one in value.items()}
    if isinstance(value, list):
        return [masked(one, secrets) for one in value]
    if isinstance(value, str):
        if value in secrets:
            return "<secret>"
        # Within a longer text, a shorter one tells nothing, and would only make the text unreadable.
        for secret in sorted((one.strip() for one in secrets if len(one.strip()) >= 6), key=len, reverse=True):
            value = value.replace(secret, "<secret>")
    return value
