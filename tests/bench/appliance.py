"""The appliance at rest and at its start: size, cold start, memory."""

from __future__ import annotations

import secrets
import subprocess
import time

import psycopg2

from tests.bench.report import compare, spread
from tests.kit.cluster import Cluster, Identity
from tests.kit.engine import IMAGE, docker
from tests.kit.eventually import eventually
from tests.kit.node import Member
from tests.kit.world import World

RUNS = 5


def size() -> None:
    """Bytes of the image."""
    unpacked = int(docker("image", "inspect", "--format", "{{.Size}}", IMAGE))
    save = subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE)
    packed = subprocess.run(["sh", "-c", "gzip -1 | wc -c"], stdin=save.stdout, capture_output=True, text=True, check=True)
    save.wait()
    print(f"\n### Image\n\n{unpacked / 1e6:.0f} MB unpacked, {int(packed.stdout) / 1e6:.0f} MB compressed (gzip -1)", flush=True)


def written(member: Member) -> bool:
    """Whether the member acknowledges a write right now."""
    try:
        member.query("CREATE TABLE IF NOT EXISTS bench (i int); INSERT INTO bench VALUES (1)", connect_timeout=1)
    except psycopg2.Error:
        return False
    return True


def alone() -> tuple[float, float, float]:
    """Seconds from `docker start` to the answer of `docker start`, to supervisord, and to the first write, on an empty volume."""
    with World() as world:
        network = world.network("bench")
        identity = Identity("spilo", secrets.token_hex(16))
        member = Member(world, "n1", identity, env={"CLUSTER_SECRET": identity.secret}, places=[(network, network.address(21))])
        member.create()
        begin = time.monotonic()
        member.start()
        started = time.monotonic() - begin
        eventually("the member takes writes", lambda: written(member), 60, every=0.02)
        first = time.monotonic() - begin
        epoch = docker("inspect", "--format", "{{.State.StartedAt}}", member.name)
        stat = member.sh("date -d \"$(stat -c %y /run/spilo/supervisor.sock)\" +%s.%N")
        began = float(subprocess.run(["date", "-d", epoch, "+%s.%N"], capture_output=True, text=True, check=True).stdout)
        return started, float(stat) - began, first


def three() -> tuple[float, float]:
    """Seconds from starting three empty members (etcd runs) to the first write, and until both replicas stream."""
    with Cluster() as cluster:
        for one in cluster.etcds:
            one.start()
        cluster.etcd_leader()
        for member in cluster.members:
            member.create()
        begin = time.monotonic()
        for member in cluster.members:
            member.start()
        eventually("a member takes writes", lambda: any(written(one) for one in cluster.members), 60, every=0.02)
        first = time.monotonic() - begin
        cluster.healthy(60)
        return first, time.monotonic() - begin


def cold() -> None:
    """Cold starts on empty volumes."""
    singles = [alone() for _ in range(RUNS)]
    triples = [three() for _ in range(3)]
    print("\n### Cold start on empty volumes (seconds: median (lowest-highest))\n")
    print(f"one member:    docker start {spread([one[0] for one in singles])}, supervisord listens {spread([one[1] for one in singles])}, "
          f"first write {spread([one[2] for one in singles])}")
    print(f"three members: first write {spread([one[0] for one in triples])}, all stream and are in the quorum "
          f"{spread([one[1] for one in triples])}", flush=True)


PSS = """
for process in /proc/[0-9]*; do
    command=$(tr '\\0' ' ' <$process/cmdline 2>/dev/null) || continue
    kb=$(awk '/^Pss:/ {sum += $2} END {print sum}' $process/smaps_rollup 2>/dev/null) || continue
    [ -n "$kb" ] && echo "$kb $command"
done
"""
PROGRAMS = {"PID 1": "bootstrap.launch", "supervisord": "supervisor.supervisord", "sentinel": "runtime.sentinel", "steward": "runtime.steward",
            "proxy": "runtime.proxy", "HAProxy": "haproxy", "etcd": "etcd", "Patroni": "runtime.patroni", "PostgreSQL": "postgres"}


def held(member: Member) -> dict[str, float]:
    """MB (proportional set size) that each program of a member holds."""
    sums = dict.fromkeys(PROGRAMS, 0.0)
    for line in member.sh(PSS).splitlines():
        kilobytes, _, command = line.partition(" ")
        name = next((name for name, part in PROGRAMS.items() if part in command and "/proc/" not in command), None)
        if name:
            sums[name] += int(kilobytes) / 1024
    return sums


def memory() -> None:
    """Memory at rest of a primary with two replicas, a quarter of a minute after its start."""
    with Cluster() as cluster:
        cluster.start()
        primary, replica = cluster.primary(), cluster.replicas()[0]
        first, second = held(primary), held(replica)
        compare("Memory at rest", "MB, PSS", {name: {"primary": [first[name]], "replica": [second[name]]} for name in PROGRAMS
                                              if first[name] or second[name]})
        print(f"\nin all: primary {sum(first.values()):.0f} MB, replica {sum(second.values()):.0f} MB", flush=True)
