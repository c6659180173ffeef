"""Archives measured: WAL out and in, as PostgreSQL's archiver and its recovery see it, and base backups.

All contestants run in one go, in turn, on the same segments and the same database, against the same S3 server. The
archiver calls one command a segment, in order; so does recovery. What was restored is compared with what was archived.
"""

from __future__ import annotations

import contextlib
import filecmp
import functools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.contestants import (
    BUCKET,
    Archiver,
    Backup,
    Copy,
    OurBackup,
    PgBackRest,
    PgBackRestBackup,
    PgBaseBackup,
    Place,
    Resident,
    Wale,
    WaleBackup,
)
from tests.bench.report import compare
from tests.bench.sample import Sample, directory_size
from tests.component.servers import Authority
from tests.component.support import running
from tests.kit.s3 import Rclone

RUNS = 3
SEGMENTS = int(os.environ.get("SEGMENTS", "64"))
SCALE = int(os.environ.get("SCALE", "70"))  # of pgbench; 70 is about 1 GiB
PATIENCE = 120.0  # seconds for one command
ROOM = Path("/home/postgres/pgdata")  # a volume: a disk, and no layers of an image


def command(template: str, path: str, name: str) -> str:
    return template.replace("%p", path).replace("%f", name)


def call(line: str, data: Path, log: Path) -> None:
    """One command as PostgreSQL runs it."""
    with log.open("ab") as output:
        code = subprocess.run(["sh", "-c", line], cwd=data, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
                              timeout=PATIENCE).returncode
    if code:
        raise RuntimeError(f"{line}: exit code {code}: {log.read_text(errors='replace')[-2000:]}")


def archive(tool: Archiver, data: Path, log: Path) -> float:
    """Archive all that is waiting; seconds. A tool may have marked segments as done before their turn."""
    status = data / "pg_wal" / "archive_status"
    start = time.monotonic()
    for ready in sorted(status.glob("*.ready")):
        if ready.exists():
            call(command(tool.push, f"pg_wal/{ready.stem}", ready.stem), data, log)
            with contextlib.suppress(FileNotFoundError):
                ready.rename(ready.with_suffix(".done"))
    return time.monotonic() - start


def restore(tool: Archiver, data: Path, names: list[str], log: Path) -> float:
    """Fetch all segments, one after the other; seconds."""
    start = time.monotonic()
    for name in names:
        call(command(tool.fetch, "pg_wal/RECOVERYXLOG", name), data, log)
        (data / "pg_wal" / "RECOVERYXLOG").rename(data / "pg_wal" / name)
    return time.monotonic() - start


def one_run(tool: Archiver, sample: Sample, names: list[str], number: int) -> tuple[float, float]:
    """Segments per second out and in."""
    log = sample.place / f"{tool.name.replace(' ', '-')}.log"
    data = sample.skeleton(sample.place / "skeleton", names)
    tool.begin(data, str(number))
    try:
        out = archive(tool, data, log)
        for name in names:
            (data / "pg_wal" / name).unlink()
        tool.again(data)
        back = restore(tool, data, names, log)
    finally:
        tool.end()
    for name in names:
        if not filecmp.cmp(sample.wal / name, data / "pg_wal" / name, shallow=False):
            raise RuntimeError(f"{tool.name}: {name} came back different")
    return len(names) / out, len(names) / back


def segments(tools: list[Archiver], sample: Sample, names: list[str]) -> None:
    """All archivers, in turn."""
    rows: dict[str, dict[str, list[float]]] = {way: {tool.name: [] for tool in tools} for way in ("archive", "restore")}
    for number in range(RUNS):
        for tool in tools:
            os.sync()
            out, back = one_run(tool, sample, names, number)
            rows["archive"][tool.name].append(out)
            rows["restore"][tool.name].append(back)
            print(f"{tool.name}, run {number + 1}: {out:.1f} segments/s out, {back:.1f} in", flush=True)
    compare(f"WAL, {len(names)} segments of 16 MiB", "segments/s", rows)


def timed(work: Callable[[], None]) -> float:
    os.sync()
    start = time.monotonic()
    work()
    return time.monotonic() - start


def backups(tools: list[Backup], sample: Sample) -> None:
    """All tools for base backups, in turn."""
    size = sample.size() / 1e6
    rows: dict[str, dict[str, list[float]]] = {way: {tool.name: [] for tool in tools} for way in ("push", "fetch")}
    for number in range(RUNS):
        for tool in tools:
            target = sample.place / "restored"
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(0o700)
            tool.begin(str(number))
            try:
                if tool.push is not None:
                    rows["push"][tool.name].append(size / timed(tool.push))
                rows["fetch"][tool.name].append(size / timed(functools.partial(tool.fetch, target)))
            finally:
                tool.end()
            if abs(directory_size(target) / sample.size() - 1) > 0.1:
                raise RuntimeError(f"{tool.name}: restored {directory_size(target)} of {sample.size()} bytes")
            last = ", ".join(f"{found[tool.name][-1]:.0f} MB/s {way}" for way, found in rows.items() if found[tool.name])
            print(f"{tool.name}, run {number + 1}: {last}", flush=True)
    compare(f"Base backup of {size:.0f} MB", "MB/s of the data directory", rows)


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A database, and an S3 server on the same files twice: pgBackRest speaks TLS only, the others need no authority."""
    folder = ROOM / "bench"
    folder.mkdir()
    plain, secure = Rclone("rclone", folder), Rclone("rclone-tls", folder, Authority(folder))
    sample = Sample(folder, SCALE)
    with running(plain, secure, sample.server):
        for server in (plain, secure):
            server.start()
            server.until_ready()
            server.bucket(BUCKET)
        yield Place(folder, plain, secure, sample)


def wal() -> None:
    """WAL first, then base backups."""
    with place() as here:
        names = here.sample.write(SEGMENTS)
        here.sample.stop()
        segments([Resident(here), Wale(8, 8, here), Wale(32, 0, here), PgBackRest(here), Copy("cp", here)], here.sample, names)
        here.sample.start()
        backups([OurBackup(here), WaleBackup(here), PgBackRestBackup(here), PgBaseBackup(here)], here.sample)
