"""The data with which a cluster begins: its own archive's, when everything else is lost, or those of a cluster that it is to
be a copy of. Also what the archive has, for whoever decides. The governor calls it (runtime/governor/begin.py).

Until the governor has made it the cluster's it is an unfinished copy, which nobody starts; a failure leaves an empty directory.
Roles come with the data; the steward gives ours their passwords as soon as there is a primary.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from runtime import archive, lzop, postgres
from runtime.basebackup import catalog, meter
from runtime.basebackup import target as targets
from runtime.basebackup.foreign import disarm
from runtime.basebackup.read import restore
from runtime.basebackup.replay import Reached, Wanted, environment, place, replay
from runtime.basebackup.target import Target
from runtime.log import Log
from runtime.replica.from_leader import copy
from runtime.spec import CloneSpec, Spec, load
from runtime.store import Denied, Store, StoreError
from runtime.trouble import Exit, Trouble, run
from runtime.wal import Segment, show_lsn

LOG = Log("replica.from_archive")
_PR_SET_PDEATHSIG = 1  # prctl(2)


def look(store: Store) -> dict[str, str]:
    """What is in the archive, as `state` (empty, usable, unusable, silent) and `text`."""
    try:
        found = catalog.read(store)
    except Denied as error:
        return {"state": "silent", "text": f"{store.url} refuses: {error}"}
    except StoreError as error:
        return {"state": "silent", "text": f"{store.url} does not answer: {error}"}
    if found.empty:
        if found.system is None:
            return {"state": "empty", "text": f"{store.url} is empty"}
        return {"state": "unusable", "text": f"{store.url} belongs to the cluster {found.system}, which has not archived anything"}
    try:
        choice = targets.choose(found, Target())
    except Trouble as trouble:
        return {"state": "unusable", "text": f"{store.url}: {trouble.message}: {'; '.join(trouble.detail.splitlines())}"}
    return {"state": "usable", "text": f"{store.url}: {targets.reachable(found, choice.backup, choice.timeline)}"}


@contextlib.contextmanager
def unfinished(data: Path) -> Iterator[None]:
    """What is made in `data` is marked as of no value, and gone when the block fails. The mark stays until the caller has
    made the data the cluster's."""
    if not postgres.is_empty(data):
        raise Trouble(Exit.REFUSED, "a cluster begins in an empty directory only", f"{data} is not")
    mark = postgres.unfinished(data)
    mark.parent.mkdir(0o700, parents=True, exist_ok=True)
    mark.write_text(postgres.BEGINNING, encoding="ascii")
    try:
        yield
    except BaseException:
        postgres.clear(data)
        mark.unlink()
        raise


def from_store(store: Store, socket: Path, wanted: Target, data: Path, *, another: bool, downloads: int) -> Reached:
    """Restore the newest backup before the target, and recover it up to there; raises Trouble."""
    try:
        found = catalog.read(store)
    except StoreError as error:
        raise Trouble(Exit.RETRY, "the archive does not say what it has", f"{store.url}: {error}") from None
    if found.empty:
        raise Trouble(Exit.REFUSED, "there is nothing in the archive", store.url)
    choice = targets.choose(found, wanted)
    backup, reach = choice.backup, found.reach(choice.backup, choice.timeline)
    LOG.info("restoring", store=store.url, backup=backup.name, finished=targets.show_time(backup.finished), target=wanted,
             timeline=choice.timeline)
    restore(store, backup, data, parallel=downloads, progress=meter.lines(LOG, "restoring"))
    check_version(data)
    disarm(data, another)
    last = Segment(reach.timeline, reach.end // backup.segment_size - 1)
    try:
        return replay(data, Wanted(wanted, archive.fetch_command(str(socket), "target"),
                                   targets.reachable(found, backup, choice.timeline), last, backup.segment_size), LOG)
    except Trouble as trouble:
        if trouble.code == Exit.RETRY:
            check_object(store, trouble)
        raise


def check_object(store: Store, trouble: Trouble) -> None:
    """Raise REFUSED where the file over which recovery stopped is damaged: trying again would not help."""
    name = next(iter(trouble.detail.split('"')[1:2]), "")
    try:
        lzop.unpack(store.get(f"wal_005/{name}.lzo"))
    except StoreError:
        return
    except ValueError as error:
        raise Trouble(Exit.REFUSED, "an object of the archive is damaged", f"wal_005/{name}.lzo: {error}",
                      "a copy to a target before that place can be made (CLONE_TARGET_LSN, CLONE_TARGET_TIME)") from None


def check_version(data: Path) -> None:
    """Raise REFUSED for data of another PostgreSQL than ours."""
    theirs = postgres.major_version(data)
    said = subprocess.run(["postgres", "-V"], env=environment(), capture_output=True, text=True, check=True).stdout
    ours = said.split()[-1 if said.strip()[-1].isdigit() else 2].partition(".")[0]
    if theirs != ours:
        raise Trouble(Exit.REFUSED, f"the data is of PostgreSQL {theirs}, this image has {ours}", "",
                      f"use an image with PostgreSQL {theirs}")


def from_host(clone: CloneSpec, folder: Path, data: Path) -> Reached:
    """Copy the running cluster at `clone.host`; raises Trouble."""
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace(":", "\\:")

    def quoted(text: object) -> str:
        return "'" + str(text).replace("\\", "\\\\").replace("'", "\\'") + "'"

    passwords = folder / "clone.pgpass"
    passwords.touch(0o600)
    passwords.write_text(f"*:*:*:{escaped(clone.user)}:{escaped(clone.password or '')}\n", encoding="utf-8")
    # Nobody can be in between who does not know the password: the login is bound to the TLS session.
    parts = {"host": clone.host, "port": clone.port, "user": clone.user, "passfile": passwords, "sslmode": "require",
             "channel_binding": "require", "connect_timeout": 10, "application_name": "spilo clone"}
    LOG.info("copying the running cluster", host=clone.host, port=clone.port, user=clone.user)
    try:
        copy(" ".join(f"{name}={quoted(value)}" for name, value in parts.items()), None, data)
    finally:
        passwords.unlink()
    check_version(data)
    disarm(data, True)
    return replay(data, Wanted(Target(timeline="current"), "false"), LOG)


def make_superuser(data: Path, name: str) -> None:
    """Make sure that the role exists which Patroni and we are. By PostgreSQL alone (--single), because nobody knows as whom
    else to log in."""
    literal, identifier = "'" + name.replace("'", "''") + "'", '"' + name.replace('"', '""') + '"'
    statement = (f"DO $spilo$BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = {literal}) "
                 f"THEN ALTER ROLE {identifier} LOGIN SUPERUSER; ELSE CREATE ROLE {identifier} LOGIN SUPERUSER; END IF; END$spilo$;\n")
    with place(data, {}) as arguments:
        done = subprocess.run(["postgres", "--single", *arguments, "template1"], input=statement, env=environment(), text=True,
                              encoding="utf-8", capture_output=True, check=False)
    if done.returncode or "ERROR:" in done.stderr:
        raise Trouble(Exit.REFUSED, f"the role {name} cannot be made in the copy", done.stderr.strip())


def recover(spec: Spec) -> Reached:
    """This cluster, from its own archive, to its end."""
    if spec.store is None:
        raise Trouble(Exit.SETTINGS, "there is no archive in the settings")
    return from_store(_open(spec.store.folder), spec.store.socket, Target(), spec.data, another=False, downloads=spec.store.downloads)


def clone(spec: Spec) -> Reached:
    """Another cluster, as the settings say."""
    given = spec.clone
    if given is None:
        raise Trouble(Exit.SETTINGS, "there is nothing to copy in the settings")
    if given.source is None:
        reached = from_host(given, spec.patroni.parent, spec.data)
    else:
        kind, value = given.target or (None, "")
        wanted = Target(kind, value, given.timeline, given.inclusive)
        reached = from_store(_open(given.source.folder), given.source.socket, wanted, spec.data, another=True,
                             downloads=spec.store.downloads if spec.store else 4)
    make_superuser(spec.data, spec.roles["superuser"].name)
    return reached


def _open(folder: Path) -> Store:
    try:
        return Store.open(folder)
    except StoreError as error:
        raise Trouble(Exit.RETRY, "the store cannot be used", str(error)) from None


def end_with_parent() -> None:
    """When the governor is killed, nobody waits for this any more."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(options: argparse.Namespace) -> int:
    spec = load(options.spec)
    if options.work == "look":
        if spec.store is None:
            raise Trouble(Exit.SETTINGS, "there is no archive in the settings")
        try:
            said = look(Store.open(spec.store.folder, attempts=1))
        except StoreError as error:
            said = {"state": "silent", "text": str(error)}
        print(json.dumps(said))
        return Exit.OK
    start = time.monotonic()
    with unfinished(spec.data):
        reached = (recover if options.work == "recover" else clone)(spec)
        os.sync()
    LOG.info("the data is there", work=options.work, lsn=show_lsn(reached.lsn), timeline=reached.timeline,
             last_commit=reached.commit or "none replayed", took=f"{time.monotonic() - start:.1f}s")
    return Exit.OK


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="from_archive", description=__doc__)
    made.add_argument("work", choices=("look", "recover", "clone"))
    made.add_argument("--spec", required=True)
    made.add_argument("--last-words", type=Path)
    return made


if __name__ == "__main__":
    end_with_parent()
    given = parser().parse_args()
    sys.exit(run(lambda: main(given), LOG, given.last_words))
