"""backup-push for PostgreSQL 15 and later: pg_start_backup is gone, and a backup lives as long as the session that began it.

Only where WAL-E starts and stops a backup it is replaced; what it uploads, and under which keys, stays its own. The
label, which PostgreSQL hands out at the end, becomes one more partition.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import tarfile
import time
from typing import Any, NoReturn

import psycopg2
from wal_e import log_help, storage, tar_partition
from wal_e.operator.backup import Backup

from runtime import lzop
from runtime.trouble import Exit
from runtime.wale import archive, blobstore
from runtime.wale.failure import Failure
from runtime.wale.offline import spelled

LOG = log_help.WalELogger(__name__)
LABEL_PARTITION = 99999999  # the highest number there is: the others are counted from 0 while they are uploaded
# Of a data directory, what belongs to the place it is in, not to the data: a copy with one of the signals would follow
# somebody; Patroni's cache would bring its cluster's configuration into another cluster.
NOT_DATA = ("recovery.signal", "standby.signal", "patroni.dynamic.json", "backup_label.old", "tablespace_map.old", "backup_manifest")
# Left behind in a running cluster these are litter; in a stopped one that was never started they are what it needs.
LABELS = ("backup_label", "tablespace_map")


class Session:
    """The connection that a backup lives in. To be closed in any case; without `stop` that ends the backup."""

    def __init__(self) -> None:
        try:
            self.connection = psycopg2.connect(
                dbname=os.environ.get("PGDATABASE", "postgres"), application_name="wal-e backup-push", keepalives_idle=60)
        except psycopg2.Error as error:
            refuse(error)
        self.connection.autocommit = True

    def row(self, query: str, *values: object) -> tuple[Any, ...]:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(query, values or None)
                row: tuple[Any, ...] = cursor.fetchone()
                return row
        except psycopg2.Error as error:
            refuse(error)

    def check(self, folder: str, owner: str | None) -> str:
        """PostgreSQL's version; raises a Failure where `folder` is not what this server would hand out as a backup."""
        version, standby, place, system = self.row(
            "SELECT version(), pg_is_in_recovery(), current_setting('data_directory'), system_identifier::text "
            "FROM pg_control_system()")
        if standby:
            raise Failure(Exit.REFUSED, "this member is a replica", hint="Take the backup on the primary.")
        if os.path.realpath(place) != os.path.realpath(folder):
            raise Failure(Exit.REFUSED, "that is not the data directory of the server", f"{folder}, the server's is {place}")
        if owner not in (None, system):
            raise Failure(Exit.REFUSED, "the archive belongs to another cluster",
                          f"its system identifier is {owner}, this cluster's is {system}")
        return str(version)

    def start(self) -> dict[str, str]:
        """Begin; where recovery will begin. The checkpoint is made at once: a spread one takes minutes in which nothing
        happens."""
        self.row("SELECT set_config('statement_timeout', '0', false), set_config('idle_session_timeout', '0', false)")
        label = f"freeze_start_{datetime.datetime.now(datetime.UTC).isoformat()}"
        return spelled(*self.row("SELECT * FROM pg_walfile_name_offset(pg_backup_start(%s, fast => true))", label))

    def stop(self) -> tuple[dict[str, str], dict[str, str]]:
        """End, which waits until the WAL is archived: where recovery may end, and the files to add."""
        lsn, label, tablespaces = self.row("SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(wait_for_archive => true)")
        for notice in self.connection.notices:
            LOG.warning(msg="PostgreSQL says", detail=notice.strip())
        added = dict(zip(LABELS, (label, tablespaces), strict=True))
        return spelled(*self.row("SELECT * FROM pg_walfile_name_offset(%s)", lsn)), {k: text for k, text in added.items() if text}


def refuse(error: psycopg2.Error) -> NoReturn:
    raise Failure(Exit.RETRY, "PostgreSQL does not do what a backup needs", str(error).strip(),
                  "PGHOST, PGPORT, PGUSER and PGDATABASE say where it is.") from None


def partition(added: dict[str, str]) -> bytes:
    """A partition of a backup that holds these small files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, text in added.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(text.encode()), 0o600, int(time.time())
            member.uid, member.gid = os.geteuid(), os.getegid()
            tar.addfile(member, io.BytesIO(text.encode()))
    return b"".join(lzop.pack(plain.getvalue()))


def push(backup: Any, session: Session, folder: str, *args: Any, **kwargs: Any) -> None:
    """Take a backup of the data directory `folder` through this session; its sentinel comes last."""
    store = blobstore.opened(backup.layout.store_name())
    version = session.check(folder, blobstore.ask(archive.owner, store, backup.layout.path_prefix))
    spec, url, size = backup._upload_pg_cluster_dir(session.start(), folder, *args, version=version, **kwargs)
    stopped, added = session.stop()

    def put(name: str, content: bytes) -> None:
        blobstore.uri_put_file(None, f"{url}{name}", io.BytesIO(content))

    put(f"/tar_partitions/part_{LABEL_PARTITION:08d}.tar.lzo", partition(added))
    put("_backup_stop_sentinel.json", json.dumps({
        "wal_segment_backup_stop": stopped["file_name"], "wal_segment_offset_backup_stop": stopped["file_offset"],
        "expanded_size_bytes": size, "spec": spec}).encode())
    LOG.info(msg="the backup is complete", detail=url[url.index(f"basebackups_{storage.CURRENT_VERSION}"):])


def install() -> None:
    stock = Backup.database_backup
    tar_partition.PG_CONF = (*tar_partition.PG_CONF, *NOT_DATA)

    def database_backup(self: Any, folder: str, *args: Any, while_offline: bool = False, **kwargs: Any) -> None:
        if while_offline:
            stock(self, folder, *args, while_offline=True, **kwargs)
            return
        tar_partition.PG_CONF = (*tar_partition.PG_CONF, *LABELS)
        session = Session()
        try:
            push(self, session, folder, *args, **kwargs)
        finally:
            session.connection.close()

    Backup.database_backup = database_backup
