"""The files that the boot writes, judged by the programs that read them."""

from __future__ import annotations

import http.client
import itertools
import shlex
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
import yaml
from supervisor.options import ServerOptions

from bootstrap import apply, facts, layout, plan, settings
from bootstrap.kinds import Secret
from bootstrap.layout import Layout
from bootstrap.plan import Plan
from runtime.proxy import haproxy
from runtime.proxy.discover import Server
from tests.component.servers import Authority
from tests.component.support import SECRET, Process, eventually, port, running

CLUSTER = {"SCOPE": "rendered", "CLUSTER_SECRET": SECRET, "ETCD_HOSTS": "10.0.0.1,10.0.0.2:2399"}
ALONE: dict[str, str] = {}


def written(root: Path, environ: dict[str, str]) -> tuple[Plan, Layout]:
    """A boot up to the point where it would start anything."""
    given = {
        "PGPORT": str(port()),
        "APIPORT": str(port()),
        "ETCD_LOCAL_PORT": str(port()),
        "MEMBER_NAME": "one",
        **environ,
    }
    found, problems = settings.read(given)
    assert not problems
    paths = layout.make(found, str(root))
    whole = plan.make(found, facts.probe(paths.pgroot, facts.user()), paths, Secret(SECRET))
    apply.apply(whole, paths)
    return whole, paths


@pytest.mark.parametrize("name", ["plain", "100%", "per%(cent)s cent"])
@pytest.mark.parametrize("environ", [ALONE, CLUSTER], ids=["alone", "cluster"])
def test_supervisord_reads_every_program_as_planned(place: Path, environ: dict[str, str], name: str) -> None:
    """Commands arrive word by word, whatever stands in the path; listeners are listeners."""
    whole, paths = written(place / name, environ)
    options = ServerOptions()
    options.realize(["-c", str(paths.supervisor)])
    found = {group.name: group.process_configs[0] for group in options.process_group_configs}
    assert sorted(found) == sorted(program.name for program in whole.programs)
    for program in whole.programs:
        config = found[program.name]
        assert tuple(shlex.split(config.command)) == program.command
        assert (config.priority, config.stopwaitsecs) == (program.priority, program.stop_seconds)


@pytest.mark.parametrize(
    "environ",
    [
        ALONE,
        CLUSTER,
        {
            **CLUSTER,
            "PG_CONNECT_ADDRESS": "db-1.example.org",
            "SSL_NAMES": "db.example.org,10.9.8.7,::7",
            "ALLOW_NOSSL": "true",
        },
        {**CLUSTER, "ETCD_USERNAME": "u", "ETCD_PASSWORD": "p: %s '\" # é"},
    ],
    ids=["alone", "cluster", "names", "etcd login"],
)
def test_patroni_accepts_its_configuration(place: Path, environ: dict[str, str]) -> None:
    """Patroni's own validation finds nothing, but for addresses that only exist elsewhere."""
    with socket.socket() as etcd:
        etcd.bind(("127.0.0.1", 0))
        etcd.listen()
        _, paths = written(place, {**environ, "ETCD_LOCAL_PORT": str(etcd.getsockname()[1])})
        said = subprocess.run(
            ["patroni", "--validate-config", str(paths.patroni)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert said.stdout + said.stderr == ""
    assert said.returncode == 0
    assert yaml.safe_load(paths.patroni.read_text())["etcd3"].get("password") == environ.get("ETCD_PASSWORD")


def haproxy_specs(place: Path) -> list[tuple[str, haproxy.Spec]]:
    """Every way to reach etcd: plain and TLS, with the system's authorities or others, with a client certificate or not."""
    authority = Authority(place)
    own, key = authority.issue("own", "127.0.0.1")
    client = place / "client.pem"
    client.write_bytes(b"".join(path.read_bytes() for path in authority.issue("client")))
    assert key == own.with_suffix(".key")
    made = []
    for protocol, trusted, certificate in itertools.product(
        ("http", "https"), (None, str(authority.file)), (None, str(client))
    ):
        spec = haproxy.Spec(
            port(), str(authority.file), str(own), "/etc/ssl/certs/ca-certificates.crt", trusted, certificate
        )
        made.append((protocol, spec))
    return made


@pytest.mark.parametrize(
    "servers",
    [
        [Server("10.0.0.1", 2379, "")],
        [Server("2001:db8::1", 2379, ""), Server("::1", 22379, "etcd-1.example.org")],
        [Server(f"10.0.0.{i}", 2379, f"etcd-{i}.example.org") for i in range(1, 8)],
    ],
    ids=["one", "IPv6", "seven with names"],
)
def test_haproxy_accepts_its_configuration(place: Path, servers: list[Server]) -> None:
    """`haproxy -c` finds neither an error nor anything to warn about."""
    for protocol, spec in haproxy_specs(place):
        config = place / "haproxy.cfg"
        config.write_text(haproxy.render(spec, protocol, servers))
        said = subprocess.run(
            ["haproxy", "-c", "-f", str(config)], capture_output=True, text=True, check=False, timeout=20
        )
        assert said.returncode == 0, said.stderr
        assert "WARNING" not in said.stderr and "ALERT" not in said.stderr, said.stderr


def test_the_embedded_etcd_starts_and_knows_only_the_cluster(place: Path) -> None:
    """It answers to the cluster's certificate, on loopback; not without one, not to one from elsewhere, not in plain text."""
    _, paths = written(place, ALONE)
    number = int(yaml.safe_load(paths.etcd.read_text())["listen-client-urls"].rpartition(":")[2])
    etcd = Process("etcd", ["sh", "-c", f"cd {paths.run} && exec etcd --config-file {paths.etcd}"], place)

    def answer(certificate: Path | None) -> int:
        context = ssl.create_default_context(cafile=str(paths.trusted))
        if certificate:
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        connection = http.client.HTTPSConnection("127.0.0.1", number, timeout=5, context=context)
        connection.request("GET", "/health")
        return connection.getresponse().status

    def healthy() -> bool:
        try:
            return answer(paths.certificate("node")) == 200
        except OSError:
            return False

    with running(etcd):
        etcd.start()
        eventually(healthy, 20, "etcd answers to the cluster's certificate")
        for wrong in (None, Authority(place).issue("stranger")[0]):
            with pytest.raises(OSError):
                answer(wrong)
        plain = http.client.HTTPConnection("127.0.0.1", number, timeout=5)
        plain.request("GET", "/health")
        with pytest.raises(http.client.RemoteDisconnected):
            plain.getresponse()
        listening = {
            line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
        }
        assert f"0100007F:{number:04X}" in listening
        assert etcd.stop() in (0, -15)
