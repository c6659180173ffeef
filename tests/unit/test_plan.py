"""The plan as a whole: golden files, purity, order, paths, and that no secret shows.

The golden files are what `spilo-boot --print` shows for two fixed members. After a change that is meant, look at the
difference that the failing test prints, and write them anew:
`GOLDEN=write python -m pytest tests/unit/test_plan.py`
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from supervisor.options import ServerOptions

import runtime
from bootstrap import derive, layout
from bootstrap.__main__ import describe
from bootstrap.plan import Plan
from tests.unit.samples import AUTHORITY, CERTIFICATE, CLUSTER, CRL, KEY, MACHINE, SECRET, content, good, make
from tests.unit.test_settings import NASTY

GOLDEN = Path(__file__).with_name("golden")
TLS = {"SSL_CERTIFICATE": CERTIFICATE, "SSL_PRIVATE_KEY": KEY, "SSL_CA": AUTHORITY, "SSL_CRL": CRL,
       "SSL_RESTAPI_CERTIFICATE": CERTIFICATE, "SSL_RESTAPI_PRIVATE_KEY": KEY, "SSL_RESTAPI_CA": AUTHORITY}
MEMBERS = {
    "alone": {},
    "cluster": {**CLUSTER, "ALLOW_NOSSL": "true", "DURABILITY": "strict", "SSL_NAMES": "db.example.com",
                "SPILO_CONFIGURATION": "{bootstrap: {dcs: {postgresql: {parameters: {work_mem: 16MB}}}},"
                                       " tags: {nofailover: true}}"},
    "archive": {**CLUSTER, "WAL_S3_BUCKET": "backups", "AWS_ENDPOINT": "http://store:8333",
                "AWS_ACCESS_KEY_ID": "key-of-the-store", "AWS_SECRET_ACCESS_KEY": "secret-of-the-store"},
}


def told(plan: Plan) -> str:
    """The plan as `--print` shows it, but for certificates and the places of Python and our code."""
    text = describe(plan).replace(sys.executable, "PYTHON").replace(str(Path(runtime.__file__).parent), "RUNTIME")
    return re.sub(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", "<certificate>", text, flags=re.DOTALL)


def supervised(plan: Plan, folder: Path) -> ServerOptions:
    """supervisord.conf as supervisord itself reads it."""
    config = folder / "supervisord.conf"
    config.write_text(content(plan, "supervisord.conf"), encoding="utf-8")
    options = ServerOptions()
    options.realize(["-c", str(config)])
    return options


@pytest.mark.parametrize("name", MEMBERS)
def test_golden(name: str) -> None:
    """The whole plan of a member is the one that was agreed upon."""
    text, path = told(make(MEMBERS[name])), GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text.splitlines() == path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("environ", [*MEMBERS.values(), {**CLUSTER, **TLS}])
def test_pure(environ: dict[str, str]) -> None:
    """The same settings and the same machine give the same plan, byte for byte."""
    assert make(environ) == make(environ)
    assert [file.content for file in make(environ).files] == [file.content for file in make(environ).files]


def test_difference_shows() -> None:
    """Another machine, another setting or another secret gives another plan."""
    first = make(CLUSTER)
    assert make(CLUSTER, memory=16 << 30) != first
    assert make({**CLUSTER, "TIMINGS": "fast"}) != first
    assert make({**CLUSTER, "CLUSTER_SECRET": "x" * 32}) != first


def test_programs() -> None:
    """Alone a member runs an etcd, in a cluster a proxy; etcd is there before Patroni, which the rest follows."""
    assert [program.name for program in make({}).programs] == ["sentinel", "etcd", "governor", "steward"]
    assert [program.name for program in make(CLUSTER).programs] == ["sentinel", "proxy", "governor", "steward"]
    alone, member = ({file.path.name for file in make(environ).files} for environ in ({}, CLUSTER))
    assert (alone - member, member - alone) == ({"etcd.yml"}, {"proxy.json"})


@pytest.mark.parametrize("environ", [{}, CLUSTER])
def test_priorities(environ: dict[str, str]) -> None:
    """Programs are in the order in which they start, and only Patroni may take its time to stop."""
    programs = make(environ).programs
    assert [program.priority for program in programs] == sorted({program.priority for program in programs})
    assert {program.name for program in programs if program.stop_seconds > 10} == {"governor"}


@pytest.mark.parametrize(("environ", "facts", "member"), [
    ({}, {}, "spilo"),
    ({"SCOPE": "demo"}, {}, "demo"),
    ({"SCOPE": "demo", "MEMBER_NAME": "first"}, {}, "first"),
    (CLUSTER, {"hostname": "node-7"}, "node-7"),
    ({**CLUSTER, "MEMBER_NAME": "first"}, {"hostname": "node-7"}, "first"),
])
def test_member(environ: dict[str, str], facts: dict[str, Any], member: str) -> None:
    """A member has the name that is given, else its host's; alone, where the host's can change, its scope's."""
    assert yaml.safe_load(content(make(environ, **facts), "patroni.yml"))["name"] == member


@pytest.mark.parametrize(("environ", "address", "postgres", "api"), [
    ({}, "192.0.2.10", "192.0.2.10:5432", "192.0.2.10:8008"),
    ({}, "2001:db8::1", "[2001:db8::1]:5432", "[2001:db8::1]:8008"),
    ({"PGPORT": "1", "APIPORT": "2"}, "192.0.2.10", "192.0.2.10:1", "192.0.2.10:2"),
    ({"PG_CONNECT_ADDRESS": "db.example.com", "RESTAPI_CONNECT_ADDRESS": "db.example.com:9"}, "192.0.2.10",
     "db.example.com:5432", "db.example.com:9"),
    ({"PG_CONNECT_ADDRESS": "[2001:db8::2]", "RESTAPI_CONNECT_ADDRESS": "[2001:db8::2]:9"}, "192.0.2.10",
     "[2001:db8::2]:5432", "[2001:db8::2]:9"),
])
def test_addresses(environ: dict[str, str], address: str, postgres: str, api: str) -> None:
    """Where others reach a member is its own address, or the given one, with a port; an IPv6 address has brackets."""
    plan = make(environ, address=address)
    found = yaml.safe_load(content(plan, "patroni.yml"))
    assert (found["postgresql"]["connect_address"], found["restapi"]["connect_address"]) == (postgres, api)
    hosts = {one.rpartition(":")[0].strip("[]") for one in (postgres, api)}
    assert {*hosts, address, "one", "127.0.0.1", "::1", "localhost"} <= set(plan.certificates[0].names)


def test_given_certificates() -> None:
    """Given certificates are used by PostgreSQL and the REST interface, and trusted beside the cluster's own."""
    plan = make({**CLUSTER, **TLS})
    found = yaml.safe_load(content(plan, "patroni.yml"))
    files = {str(file.path): file for file in plan.files}
    server = found["postgresql"]["parameters"]
    assert files[server["ssl_cert_file"]].content.decode() == CERTIFICATE
    assert files[server["ssl_key_file"]].content.decode() == KEY
    assert files[server["ssl_crl_file"]].content.decode() == CRL
    assert files[found["restapi"]["certfile"]].content.decode() == CERTIFICATE
    assert AUTHORITY in files[server["ssl_ca_file"]].content.decode()
    assert files["/run/spilo/tls/authority.crt"].content in files[server["ssl_ca_file"]].content
    assert files[server["ssl_key_file"]].mode == files[found["restapi"]["keyfile"]].mode == 0o600


def test_own_certificates() -> None:
    """Without given certificates everything uses the one that the member issues to itself."""
    plan = make(CLUSTER)
    found = yaml.safe_load(content(plan, "patroni.yml"))
    (request,) = plan.certificates
    assert found["restapi"]["certfile"] == found["postgresql"]["parameters"]["ssl_cert_file"] == request.path
    assert found["postgresql"]["parameters"]["ssl_crl_file"] == ""


@pytest.mark.parametrize("environ", [{}, {**CLUSTER, **TLS}])
def test_modes(environ: dict[str, str]) -> None:
    """A file that holds a secret can be read by its owner only."""
    plan = make(environ)
    for file in plan.files:
        if any(secret.strip() in file.content.decode() for secret in plan.secrets):
            assert file.mode == 0o600, file.path
    assert {file.mode for file in plan.files} == {0o600, 0o644}


@pytest.mark.parametrize("environ", [{}, {**CLUSTER, **TLS}, {"PGHOME": "/h", "RW_DIR": "/rw", "PGDATA": "/d/data"}])
def test_root(environ: dict[str, str]) -> None:
    """With a root, every path of the plan lies under it, in the plan and in what is written."""
    plan = make(environ, "/other/root")
    paths = [*plan.folders, *(file.path for file in plan.files), *(Path(request.path) for request in plan.certificates)]
    assert [path for path in paths if not path.is_relative_to("/other/root")] == []
    assert describe(plan).replace("/other/root/", "/") == describe(make(environ))
    assert re.findall(r"(?<!/other/root)/(?:run|home|rw|h|d)/.*", describe(plan).replace(sys.executable, "")) == []


def test_volume_and_run() -> None:
    """What must survive lies on the volume, what is made anew lies in RW_DIR, and PGDATA can be anywhere."""
    paths = layout.make(good({"PGHOME": "/h", "RW_DIR": "/rw", "PGDATA": "/d/data"}))
    assert (paths.volume, paths.pgroot, paths.pgdata) == (Path("/h/pgdata"), Path("/h/pgdata/pgroot"), Path("/d/data"))
    assert {path.parts[1] for path in (paths.patroni, paths.steward, paths.supervisor, paths.authority,
                                       paths.sockets)} == {"rw"}
    assert {path.parts[1] for path in (paths.credentials, paths.etcd_data)} == {"h"}


@pytest.mark.parametrize("environ", [{}, CLUSTER])
@pytest.mark.parametrize("folder", ["plain", "100%/a b", "%(ENV_HOME)s", "it's"])
def test_supervisor_reads_its_file(environ: dict[str, str], folder: str, tmp_path: Path) -> None:
    """supervisord reads from its file exactly the programs of the plan, whatever characters the root has."""
    root = tmp_path / folder
    plan = make(environ, str(root))
    (root / "run" / "spilo").mkdir(parents=True)
    options = supervised(plan, tmp_path)
    processes = {one.name: one for group in options.process_group_configs for one in group.process_configs}
    assert set(processes) == {program.name for program in plan.programs}
    for program in plan.programs:
        found = processes[program.name]
        assert shlex.split(found.command) == list(program.command)  # as supervisord itself splits it
        assert (found.priority, found.stopwaitsecs) == (program.priority, program.stop_seconds)
    assert options.server_configs[0]["file"] == f"{root}/run/spilo/supervisor.sock"
    assert options.nodaemon


def test_no_user_value_for_supervisor() -> None:
    """supervisord.conf, which expands %, is the same whatever texts the user gives."""
    texts = {"MEMBER_NAME": "x1", "PGPASSWORD_ADMIN": "%(x)s", "RESTAPI_PASSWORD": "%", "ETCD_USERNAME": "%(ENV_HOME)s",
             "ETCD_PASSWORD": "%%", "SPILO_CONFIGURATION": "{tags: {x: '%(y)s'}}", "SSL_NAMES": "x"}
    assert content(make({**CLUSTER, **texts}), "supervisord.conf") == content(make(CLUSTER), "supervisord.conf")


def test_supervisor_password() -> None:
    """The one secret in supervisord.conf is derived, so it has no character that supervisord would expand."""
    parser = configparser.RawConfigParser()
    parser.read_string(content(make(CLUSTER), "supervisord.conf"))
    assert parser["unix_http_server"]["password"] == derive.password(SECRET, "demo", "supervisor").reveal()
    assert parser["supervisorctl"]["password"] == parser["unix_http_server"]["password"]


@given(st.builds("{}Zq7core{}".format, NASTY, NASTY), st.booleans())
def test_secrets_do_not_show(text: str, alone: bool) -> None:
    """No given secret shows in the plan or in what `--print` shows of it, in whatever way a file has to spell it."""
    names = ["PGPASSWORD_SUPERUSER", "PGPASSWORD_STANDBY", "PGPASSWORD_ADMIN"]
    api, secret = "".join(letter for letter in text if " " <= letter <= "~"), text.ljust(16, "~")
    plan = make({**({} if alone else {**CLUSTER, "ETCD_USERNAME": "u", "ETCD_PASSWORD": text}),
                 **dict.fromkeys(names, text),
                 "CLUSTER_SECRET": secret, "RESTAPI_PASSWORD": api})
    assert "Zq7core" not in describe(plan) + repr(plan)
    written = yaml.safe_load(content(plan, "patroni.yml"))
    assert written["postgresql"]["authentication"]["superuser"]["password"] == text
    assert json.loads(content(plan, "steward.json"))["roles"]["admin"]["password"] == text


@pytest.mark.parametrize("environ", [{}, {**CLUSTER, **TLS}])
def test_derived_secrets_do_not_show(environ: dict[str, str]) -> None:
    """Neither a derived password nor a private key shows."""
    shown, scope = describe(make(environ)), environ.get("SCOPE", "spilo")
    for role in ("superuser", "standby", "admin", "restapi", "supervisor"):
        assert derive.password(SECRET, scope, role).reveal() not in shown
    assert "PRIVATE KEY" not in shown
    assert SECRET.reveal() not in shown


def test_short_password_leaves_the_rest_readable() -> None:
    """A password of one letter is hidden without taking that letter out of everything else."""
    shown = describe(make({"PGPASSWORD_ADMIN": "e"}))
    assert '"password": "<secret>"' in shown
    assert "--- program steward" in shown


@pytest.mark.parametrize(("environ", "expected"), [
    ({}, {"endpoints": [["etcd.example.com", 2379]], "protocol": "http", "domain": None}),
    ({"ETCD_HOST": "", "ETCD_HOSTS": "a:1,[::1]:2"}, {"endpoints": [["a", 1], ["::1", 2]], "protocol": "http"}),
    ({"ETCD_HOST": "", "ETCD_URL": "https://a:1"}, {"endpoints": [["a", 1]], "protocol": "https"}),
    ({"ETCD_HOST": "", "ETCD_PROXY": "http://a"}, {"endpoints": [["a", 2379]], "protocol": "http"}),
    ({"ETCD_HOST": "", "ETCD_DISCOVERY_DOMAIN": "example.com"},
     {"endpoints": [], "protocol": None, "domain": "example.com"}),
    ({"ETCD_HOST": "", "ETCD_DISCOVERY_DOMAIN": "example.com", "ETCD_PROTOCOL": "https"}, {"protocol": "https"}),
    ({"ETCD_CACERT": "/ca"}, {"protocol": "https", "authority": "/ca", "certificate": None}),
    ({"ETCD_CERT": "/c", "ETCD_KEY": "/k"}, {"protocol": "https", "certificate": "/c", "key": "/k", "authority": None}),
])
def test_way_to_etcd(environ: dict[str, str], expected: dict[str, Any]) -> None:
    """Each way to name etcd tells the proxy where it is and whether to speak TLS."""
    spec = json.loads(content(make({**CLUSTER, **environ}), "proxy.json"))
    assert {key: spec[key] for key in expected} == expected
    assert spec["listen"] == 2379


def test_machine_is_fixed() -> None:
    """The golden files are of a machine that does not depend on this one."""
    assert (MACHINE.address, MACHINE.hostname) == ("192.0.2.10", "one")
