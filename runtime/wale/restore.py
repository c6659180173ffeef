"""backup-fetch. WAL-E repeats what can never succeed, does not say which object is damaged, and with a restore
specification works on the places that the backup was taken from, which may well be in use."""

from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path
from typing import Any

import gevent
from wal_e.operator.backup import Backup
from wal_e.pipeline import get_download_pipeline
from wal_e.piper import PIPE
from wal_e.tar_partition import TarPartition
from wal_e.worker.s3.s3_worker import BackupFetcher

from runtime.trouble import Exit
from runtime.wale import pipelines
from runtime.wale.blobstore import write_and_return_error
from runtime.wale.failure import Failure
from runtime.wale.retries import retry


@retry()
def fetch_partition(self: Any, name: str) -> None:
    """Download and extract one partition. What the store said comes before what that led to."""
    key = self.bucket.get_key(self.layout.basebackup_tar_partition(self.backup_info, name))
    with get_download_pipeline(PIPE, PIPE, self.decrypt) as pipeline:
        feeding = gevent.spawn(write_and_return_error, key, pipeline.stdin)
        try:
            TarPartition.tarfile_extract(pipeline.stdout, self.local_root)
        except Exception as error:
            pipelines.kill(pipeline)
            said = feeding.get()
            raise said if isinstance(said, Failure) else Failure(
                Exit.REFUSED, "a part of the backup cannot be restored", f"{key.name}: {type(error).__name__}: {error}",
                "The object is damaged, or the disk is full; a message of lzop or cat above says which.") from error
        said = feeding.get()
    if said is not None:
        raise said


def guard(spec: dict[str, Any], folder: str) -> None:
    """Raises a Failure where a restore specification, as WAL-E has merged it with the backup's own, leads elsewhere than
    into `folder` and empty places."""
    if os.path.realpath(spec["base_prefix"]) != os.path.realpath(folder):
        raise Failure(Exit.REFUSED, "the restore specification is for another directory", f"base_prefix is {spec['base_prefix']}",
                      f'Put "base_prefix": "{folder}" into the file; without it that of the backup counts.')
    for name in spec.get("tablespaces", []):
        place = spec[name]["loc"]
        if os.path.isdir(place) and os.listdir(place):
            raise Failure(Exit.REFUSED, "a place for a tablespace is not empty", f"{place}, of tablespace {name}",
                          "Name other places in the file; without one that of the backup counts.")


def keep_links(data: Path) -> None:
    """Make tablespace_map say what the links in pg_tblspc say. PostgreSQL makes the links anew from it, and it names
    the places that the backup was taken from."""
    file = data / "tablespace_map"
    if not file.exists():
        return
    lines = re.findall(r"^(\d+) ((?:\\.|[^\\\n])*)$", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    links = {oid: data / "pg_tblspc" / oid for oid, _ in lines}
    text = "".join(f"{oid} {_escaped(os.readlink(links[oid])) if links[oid].is_symlink() else place}\n" for oid, place in lines)
    with file.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def keep_wal_place(data: Path, link: str | None) -> None:
    """Where pg_wal came out of the backup as a link, it leads to the WAL of the cluster that was backed up: put back the
    link that was there before, or make a folder."""
    place = data / "pg_wal"
    if not place.is_symlink() or os.readlink(place) == link:
        return
    place.unlink()
    if link:
        place.symlink_to(link)
    else:
        place.mkdir(0o700)


def _escaped(place: str) -> str:
    return re.sub(r"([\\\n\r])", r"\\\1", place.rstrip("/"))


def install() -> None:
    stock_fetch, stock_paths = Backup.database_fetch, Backup._build_restore_paths
    BackupFetcher.fetch_partition = fetch_partition
    # Python 3.14 has another default, which refuses members behind the links of tablespaces.
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.fully_trusted_filter)

    def database_fetch(self: Any, folder: str, name: str, *, restore_spec: str | None, **others: Any) -> None:
        if restore_spec == "SOURCE":
            raise Failure(Exit.REFUSED, "--restore-spec SOURCE is not offered",
                          "It would restore into the directories that the backup was taken from.",
                          "Make the links in pg_tblspc first, or name new places in a file: --restore-spec FILE.")

        def build_restore_paths(spec: dict[str, Any]) -> None:
            guard(spec, folder)
            stock_paths(self, spec)

        self._build_restore_paths = build_restore_paths
        data = Path(folder)
        link = os.readlink(data / "pg_wal") if (data / "pg_wal").is_symlink() else None
        stock_fetch(self, folder, name, restore_spec=restore_spec, **others)
        keep_wal_place(data, link)
        if not self.exceptions:
            keep_links(data)

    Backup.database_fetch = database_fetch
