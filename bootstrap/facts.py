"""What this machine is: probed once, at boot, and then a value like any other."""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket
from dataclasses import dataclass
from pathlib import Path

from runtime.trouble import Exit, Trouble


@dataclass(frozen=True)
class Facts:
    """`memory`, `volume` and `shm` (/dev/shm) in bytes; `user` is the name that owns the processes; `address` is
    reachable from peers."""

    memory: int
    cpus: int
    volume: int
    shm: int
    address: str
    hostname: str
    user: str


def _limit(path: str) -> int | None:
    """A number from a cgroup file, None where there is none or it means "no limit"."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None


def memory() -> int:
    """Bytes of memory that this container may use: the cgroup's limit (v2, then v1), at most the machine's."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
            break
    limits = [_limit("/sys/fs/cgroup/memory.max"), _limit("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    return min([total, *(limit for limit in limits if limit)])


def cpus() -> int:
    """Processors that this container may use, at least 1: the affinity mask, less where a cgroup quota says so."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        quota = str(_limit("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") or "max")
        period = str(_limit("/sys/fs/cgroup/cpu/cpu.cfs_period_us") or "100000")
    return max(1, min(count, -(-int(quota) // int(period)))) if quota.isdigit() else count


def volume(path: Path) -> int:
    """Size in bytes of the file system that `path`, or its nearest existing parent, lies on."""
    while not path.exists():
        path = path.parent
    stat = os.statvfs(path)
    return stat.f_frsize * stat.f_blocks


def address() -> str:
    """The address that this machine uses towards others, loopback where it has no network."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))  # chooses a route, sends nothing
                return str(probe.getsockname()[0])
        except OSError:
            continue
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        found = set()
    usable = sorted(a for a in found if not ipaddress.ip_address(a.split("%")[0]).is_loopback)
    return usable[0] if usable else "127.0.0.1"


def user() -> str:
    """The name of the user that we are. PostgreSQL refuses to run as root or as a user without a name."""
    uid = os.getuid()
    if uid == 0:
        raise Trouble(Exit.REFUSED, "running as root, which PostgreSQL refuses and nothing here needs",
                      hint="remove `--user root` (or `user:` in compose); the image's own user is postgres (101:103)")
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise Trouble(Exit.REFUSED, "the user of this container has no name, which PostgreSQL needs", f"uid {uid}",
                      "run as the image's own user postgres (101:103): remove `--user`") from None


def probe(pgroot: Path, name: str) -> Facts:
    """All facts of this machine; `pgroot` tells which volume is meant, `name` is that of the user we run as."""
    return Facts(memory(), cpus(), volume(pgroot), volume(Path("/dev/shm")), address(), socket.gethostname(), name)
