"""The local etcd proxy measured: HAProxy as built, `etcd gateway`, and Patroni on the members' own addresses.

The variants are made by replacing the launcher of Patroni in an otherwise unchanged member.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench.report import compare
from tests.kit.cluster import Cluster
from tests.kit.engine import docker
from tests.kit.ledger import Ledger
from tests.kit.node import Etcd

RUNS = 2
GATEWAY = 2390
PATRONI = "/opt/spilo/lib/python3.13/site-packages/runtime/patroni.py"
LAUNCHER = """
import subprocess, sys, yaml
from runtime.tool import tool

def command(config):
    return tool("runtime.patroni", config)

def main():
    {before}
    path = sys.argv[1]
    config = yaml.safe_load(open(path))
    config["etcd3"] = {section}
    open(path, "w").write(yaml.safe_dump(config))
    from patroni.__main__ import main as patroni
    sys.argv[0] = "patroni"
    patroni()

if __name__ == "__main__":
    main()
"""
# Puts as fast as they are answered for so many seconds; prints a line at the first answer, then the longest time between two.
PROBE = """
import base64, json, sys, time, urllib3
base, seconds = sys.argv[1], float(sys.argv[2])
tls = "/run/spilo/tls/"
keys = dict(cert_file=tls + "node.crt", key_file=tls + "node.key", ca_certs=tls + "authority.crt") if base.startswith("https") else {}
http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(1.0), **keys)
body = json.dumps({"key": base64.b64encode(b"bench").decode(), "value": "eA=="})
end = time.monotonic() + seconds
last, worst = None, 0.0
while time.monotonic() < end:
    try:
        answered = http.request("POST", base + "/v3/kv/put", body=body).status == 200
    except urllib3.exceptions.HTTPError:
        answered = False
    now = time.monotonic()
    if answered:
        if last is None:
            print("answered", flush=True)
        worst = max(worst, now - (last or now))
        last = now
    time.sleep(0.01)
print(json.dumps(max(worst, time.monotonic() - last)))
"""


def launcher(cluster: Cluster, variant: str) -> str | None:
    """The module that stands in for runtime/patroni.py, None for the member as built."""
    addresses = [f"{one.address()}:2379" for one in cluster.etcds]
    if variant == "direct":
        return LAUNCHER.format(before="pass", section=json.dumps({"hosts": addresses}))
    if variant == "gateway":
        gateway = ["etcd", "gateway", "start", f"--endpoints={','.join(addresses)}", f"--listen-addr=127.0.0.1:{GATEWAY}", "--retry-delay=2s"]
        before = f"subprocess.Popen({gateway}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)"
        return LAUNCHER.format(before=before, section=f'{{"host": "127.0.0.1:{GATEWAY}", "use_proxies": True}}')
    return None


def start(cluster: Cluster, variant: str) -> None:
    """Start a cluster whose Patroni reaches etcd in the way of the variant."""
    script = launcher(cluster, variant)
    for member in cluster.members:
        member.create()
        if script:
            with tempfile.NamedTemporaryFile("w", prefix="patroni") as file:
                file.write(script)
                file.flush()
                Path(file.name).chmod(0o644)
                docker("cp", file.name, f"{member.name}:{PATRONI}")
    cluster.start()


def probe(cluster: Cluster, fault: Callable[[Etcd], None], victim: Etcd) -> dict[str, float]:
    """Longest gap between answered puts on one member through each proxy at once, in seconds."""
    member = cluster.members[0]
    bases = {"haproxy": "https://127.0.0.1:2379", "gateway": f"http://127.0.0.1:{GATEWAY}"}
    running = {name: subprocess.Popen(["docker", "exec", member.name, "/opt/spilo/bin/python", "-I", "-c", PROBE, base, "12"],
                                      stdout=subprocess.PIPE, text=True) for name, base in bases.items()}
    for process in running.values():
        assert process.stdout is not None
        process.stdout.readline()  # the fault comes once both probes have been answered
    fault(victim)
    gaps = {name: float(json.loads(process.communicate()[0])) for name, process in running.items()}
    cluster.restore()
    cluster.healthy()
    return gaps


def members() -> None:
    """One etcd member killed or silent, seen by a client of each proxy."""
    rows: dict[str, dict[str, list[float]]] = {}
    with Cluster() as cluster:
        start(cluster, "gateway")
        for name, fault in (("killed", Etcd.kill), ("silent", Etcd.pause)):
            for who in ("follower", "leader"):
                row = rows.setdefault(f"etcd {who} {name}", {"haproxy": [], "gateway": []})
                for run in range(RUNS):
                    leader = cluster.etcd_leader()
                    followers = [one for one in cluster.etcds if one is not leader]
                    for proxy, gap in probe(cluster, fault, leader if who == "leader" else followers[run % 2]).items():
                        row[proxy].append(gap)
    compare("Gap of a client of etcd when a member is lost", "seconds", rows)


def zone() -> None:
    """The primary and one etcd member fall silent together, as with an availability zone."""
    rows: dict[str, dict[str, list[float]]] = {"primary and an etcd member silent": {}}
    for variant in ("haproxy", "direct", "gateway"):
        measured = rows["primary and an etcd member silent"].setdefault(variant, [])
        with Cluster() as cluster:
            start(cluster, variant)
            with Ledger({member.short: member.dsn() for member in cluster.members}) as ledger:
                for run in range(RUNS):
                    primary, etcd = cluster.primary(), cluster.etcds[run % len(cluster.etcds)]
                    mark = ledger.mark()
                    primary.cut()
                    etcd.cut()
                    ledger.resumed(mark + 1, within=180)
                    measured.append(ledger.pause(mark))
                    print(f"{variant}: {measured[-1]:.2f} s", flush=True)
                    cluster.restore()
                    cluster.healthy(180)
    compare("Pause of writes when a zone is lost", "seconds", rows)


def proxies() -> None:
    """Both comparisons."""
    members()
    zone()
