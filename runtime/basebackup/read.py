"""Brings a base backup back: its partitions, several at a time, into an empty directory.

Nothing that is half done looks good: the directory is no data directory before the very end, because pg_control is put
in its place last, and a failure removes what was written.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import errno
import os
import re
import shutil
import struct
import threading
from collections.abc import Mapping
from pathlib import Path

from runtime import lzop
from runtime.basebackup.meter import Meter, Say
from runtime.basebackup.model import Backup, Part
from runtime.basebackup.tar import Broken, Member, Untar
from runtime.postgres import is_empty
from runtime.store import Absent, Store, StoreError, Unanswered
from runtime.trouble import Exit, Trouble

CONTROL = "global/pg_control"
_ASIDE = "global/pg_control.restored"  # where it waits
# Of a copied directory, what belongs to where it ran and not to the data; a stock wal-e stores some of it.
_NOT_DATA = {"standby.signal", "recovery.signal", "patroni.dynamic.json", "postmaster.pid", "postmaster.opts", "recovery.conf",
             "backup_manifest", "backup_label.old", "tablespace_map.old"}
# What PostgreSQL expects in a data directory, whether there is something in it or not.
_FOLDERS = ("global", "base", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_logical/mappings", "pg_logical/snapshots",
            "pg_multixact", "pg_multixact/members", "pg_multixact/offsets", "pg_notify", "pg_replslot", "pg_serial",
            "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_wal",
            "pg_wal/archive_status", "pg_xact")
_SHUT_DOWN = 1  # DBState in pg_control: a clean stop, after which no WAL is needed
SYNCS = 8  # files that are waited for at the same time
_SYNC_FILE_RANGE_WRITE = 2  # sync_file_range(2)
_libc = ctypes.CDLL(None, use_errno=True)


def restore(store: Store, backup: Backup, data: Path, *, tablespaces: Mapping[int, Path] | None = None, parallel: int = 4,
            progress: Say | None = None) -> None:
    """Restore `backup` into `data`, which must be empty or not there; recovery is the caller's. `tablespaces` says where
    each is to be, by OID; those that it does not name go back to the place that they were taken from, which must be empty
    too. Everything is on disk when this returns. Raises Trouble: RETRY where the store does not answer or the disk is
    full, REFUSED where the backup is damaged (naming the object) or a directory is not empty; then nothing is left."""
    check(backup)
    places = {oid: Path((tablespaces or {}).get(oid, place)) for oid, place in backup.tablespaces.items()}
    for folder in (data, *places.values()):
        _check_empty(folder)
    _check_space(backup, data)
    made: list[Path] = []
    try:
        for folder in (data, *places.values()):
            _make(folder, made)
        _link(data, places)
        _extract_all(store, backup, data, parallel, Meter(backup.size or 0, progress))
        _finish(backup, data, places)
    except BaseException as error:
        _clear([data, *places.values()], made)
        raise _explained(error) from None


def check(backup: Backup) -> None:
    """Raise REFUSED for a backup of which the catalog knows that it is not whole."""
    if not backup.complete or backup.problem:
        raise Trouble(Exit.REFUSED, f"the backup {backup.name} cannot be restored",
                      backup.problem or "it is not complete: it was interrupted, or is being made",
                      "`spilo backup list` shows which can")


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, Unanswered):
        return Trouble(Exit.RETRY, "the store does not deliver the backup", str(error), "try again once it answers")
    if isinstance(error, StoreError):
        missing = isinstance(error, Absent)
        return Trouble(Exit.REFUSED if missing else Exit.RETRY,
                       "a part of the backup is missing" if missing else "the store refuses to deliver the backup", str(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Trouble(Exit.RETRY, "the disk is full, the backup was not restored", str(error),
                       "make room, or name a directory on a larger volume; what was written is removed again")
    if isinstance(error, OSError):
        return Trouble(Exit.RETRY, "the backup cannot be written to disk", str(error))
    return error


def _check_empty(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()) or not is_empty(folder):
        raise Trouble(Exit.REFUSED, "a backup is restored into empty directories only", f"{folder} is not one",
                      "name another directory, or empty this one")


def _check_space(backup: Backup, data: Path) -> None:
    """Raise RETRY where it cannot fit; tablespaces elsewhere are not told apart, so only an upper bound is known there."""
    near = next(folder for folder in (data, *data.parents) if folder.exists())
    free = shutil.disk_usage(near).free
    if backup.size and not backup.tablespaces and backup.size > free:
        raise Trouble(Exit.RETRY, "the disk has no room for the backup", f"it needs {backup.size} bytes, {near} has {free} free",
                      "make room, or name a directory on a larger volume")


def _make(folder: Path, made: list[Path]) -> None:
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(0o700, parents=True, exist_ok=True)
    made.extend(missing)
    folder.chmod(0o700)


def _link(data: Path, places: Mapping[int, Path]) -> None:
    for name in _FOLDERS:
        (data / name).mkdir(0o700, exist_ok=True)
    for oid, place in places.items():
        (data / "pg_tblspc" / str(oid)).symlink_to(place.absolute())


def _extract_all(store: Store, backup: Backup, data: Path, parallel: int, meter: Meter) -> None:
    """All partitions, the largest first, so that they end at about the same time.

    Nobody begins before all threads are there: a signal that strikes while one is started leaves a thread behind that nobody
    waits for, and that would write into what has been removed meanwhile.
    """
    pool = concurrent.futures.ThreadPoolExecutor(max(parallel, 1), "restore")
    begin = threading.Event()

    def extract(part: Part) -> None:
        begin.wait()
        meter.add(0)
        _extract(store, part, data, meter)

    try:
        parts = sorted(backup.parts, key=lambda part: part.stored, reverse=True)
        waiting = [pool.submit(extract, part) for part in parts]
        begin.set()
        for one in concurrent.futures.as_completed(waiting):
            one.result()
    except BaseException:
        meter.stop()
        begin.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _extract(store: Store, part: Part, data: Path, meter: Meter) -> None:
    """One partition. Raises Trouble (REFUSED) where it is damaged."""
    total = 0
    try:
        with store.stream(part.key) as stream:
            if stream.length != part.stored:
                raise Broken(f"it has {stream.length} bytes, {part.stored} were listed")
            untar = Untar(lzop.blocks(stream))
            for member in untar.members():
                _place(data, member, untar, meter)
                total += member.size
        if part.size not in (None, total):
            raise Broken(f"it holds files of {total} bytes, {part.size} were stored")
    except ValueError as error:  # lzop.Corrupt and Broken
        raise Trouble(Exit.REFUSED, "a part of the backup is damaged", f"{part.key}: {error}",
                      "restore another backup; `spilo backup list` shows which there are") from None


def _place(data: Path, member: Member, untar: Untar, meter: Meter) -> None:
    """Write one member below `data`."""
    names = [name for name in member.name.split("/") if name not in ("", ".")]
    if member.name.startswith("/") or ".." in names:
        raise Broken(f"it has a file outside of the data directory: {member.name}")
    if not names or (len(names) == 1 and names[0] in _NOT_DATA):
        return
    path = data.joinpath(*names)
    if member.is_folder:
        if not path.is_symlink():
            path.mkdir(0o700, parents=True, exist_ok=True)
            path.chmod(0o700 | member.mode & 0o050)
    elif member.is_file:
        if "/".join(names) == CONTROL:
            path = data / _ASIDE
        _write(path, member, untar, meter)
    # Links are made by whoever restores: those of tablespaces above, others led to places of the other machine.


def _write(path: Path, member: Member, untar: Untar, meter: Meter) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    mode = 0o600 | member.mode & 0o040
    try:
        file = os.open(path, flags, mode)
    except FileNotFoundError:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        file = os.open(path, flags, mode)
    except FileExistsError:
        raise Broken(f"a file is in the backup twice: {member.name}") from None
    try:
        for piece in untar.content():
            meter.add(len(piece))
            left = piece
            while left:
                left = left[os.write(file, left) :]
        _begin_writing(file)
    finally:
        os.close(file)


def _finish(backup: Backup, data: Path, places: Mapping[int, Path]) -> None:
    """Make it a data directory that will be recovered from this backup, and make it durable."""
    aside = data / _ASIDE
    control = aside.read_bytes() if aside.exists() else b""
    if len(control) < 20 or not (data / "PG_VERSION").exists():
        raise Trouble(Exit.REFUSED, "the backup holds no data directory", f"{backup.name} has no {CONTROL} or no PG_VERSION")
    if not (data / "backup_label").exists() and struct.unpack("=I", control[16:20])[0] != _SHUT_DOWN:
        raise Trouble(Exit.REFUSED, "the backup has no backup_label", f"{backup.name} was taken while PostgreSQL ran",
                      "without it recovery would begin at the wrong place; restore another backup")
    if places:
        text = "".join(f"{oid} {_escaped(str(place.absolute()))}\n" for oid, place in sorted(places.items()))
        (data / "tablespace_map").write_text(text, encoding="utf-8", errors="surrogateescape")
        (data / "tablespace_map").chmod(0o600)
    _sync_all([data, *places.values()], SYNCS)
    os.rename(aside, data / CONTROL)
    _sync(data / "global")


def _escaped(place: str) -> str:
    return re.sub(r"([\\\n\r])", r"\\\1", place)


def _begin_writing(file: int) -> None:
    """Let the disk begin with what was written to `file`, so that little is left to wait for at the end."""
    _libc.sync_file_range(file, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_all(folders: list[Path], parallel: int) -> None:
    """Everything below `folders`, and nothing else of their file systems: others may have much to write there."""
    files: list[Path] = []
    for folder in folders:
        for place, _, names in os.walk(folder):
            files += [Path(place, name) for name in names if not os.path.islink(os.path.join(place, name))]
            files.append(Path(place))
        files.append(folder.parent)
    with concurrent.futures.ThreadPoolExecutor(parallel, "sync") as pool:
        for _ in pool.map(_sync, files):
            pass


def _clear(folders: list[Path], made: list[Path]) -> None:
    """Take away what was written; directories that were there before stay, empty."""
    for folder in folders:
        for entry in os.scandir(folder) if folder.is_dir() else ():
            if entry.name == "lost+found":
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
    for folder in sorted(made, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
