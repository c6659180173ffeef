"""SPILO_CONFIGURATION: how it is merged, and what it may not override."""

from __future__ import annotations

import copy
import inspect
import itertools
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from patroni import config, global_config, ha
from patroni.postgresql.config import ConfigHandler

from bootstrap import hba, overrides, parameters
from bootstrap.render import patroni
from runtime.spec import ENVIRONMENT
from tests.unit.samples import CLUSTER, content, good, make, refusals

TREES = st.recursive(st.none() | st.integers() | st.lists(st.integers(), max_size=2),
                     lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


def rendered(configuration: str, **environ: str) -> dict[str, Any]:
    """Patroni's configuration with this SPILO_CONFIGURATION."""
    loaded: dict[str,
                 Any] = yaml.safe_load(content(make({"SPILO_CONFIGURATION": configuration, **environ}), "patroni.yml"))
    return loaded


@given(MAPPINGS, MAPPINGS)
def test_merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Mappings are merged deeply, anything else is replaced, and neither side changes."""
    before = copy.deepcopy((base, over))
    merged = patroni.merge(base, over)
    assert (base, over) == before
    assert set(merged) == set(base) | set(over)
    for key in merged:
        if key not in over:
            assert merged[key] == base[key]
        elif isinstance(over[key], dict) and isinstance(base.get(key), dict):
            assert merged[key] == patroni.merge(base[key], over[key])
        else:
            assert merged[key] == over[key]


def test_merged_into_patroni() -> None:
    """A value is replaced, its neighbours stay, a list is replaced, and null takes a value away."""
    plain, found = rendered("{}"), rendered("""
        postgresql: {parameters: {work_mem: 1GB}, create_replica_methods: [basebackup]}
        bootstrap: {dcs: {ttl: 40, maximum_lag_on_failover: null}}
        tags: {nofailover: true}""")
    assert found["postgresql"]["parameters"] == {**plain["postgresql"]["parameters"], "work_mem": "1GB"}
    assert found["postgresql"]["create_replica_methods"] == ["basebackup"]
    changed = {"ttl": 40, "maximum_lag_on_failover": None}
    dcs, before = found["bootstrap"]["dcs"], plain["bootstrap"]["dcs"]
    assert dcs == {**before, **changed, ENVIRONMENT: {**before[ENVIRONMENT], **changed}}
    assert found["tags"] == {"nofailover": True}


def test_parameters_for_the_cluster() -> None:
    """A parameter given for the cluster is not hidden by our default for the member, which Patroni would prefer."""
    found = rendered("{bootstrap: {dcs: {postgresql: {parameters: {Work_Mem: 1GB, shared_buffers: 2GB}}}},"
                     " postgresql: {parameters: {shared_buffers: 1GB}}}")
    assert "work_mem" not in found["postgresql"]["parameters"]
    assert found["postgresql"]["parameters"]["shared_buffers"] == "1GB"
    assert found["bootstrap"]["dcs"]["postgresql"]["parameters"]["Work_Mem"] == "1GB"


@pytest.mark.parametrize("path", [
    "scope", "name", "namespace", "etcd", "etcd3", "etcd3.host", "consul", "zookeeper", "kubernetes", "raft", "ctl",
    "ctl.insecure",
    "restapi.listen", "restapi.authentication", "restapi.authentication.password", "restapi.auth", "restapi.certfile",
    "restapi.keyfile", "restapi.keyfile_password", "restapi.cafile", "restapi.verify_client", "postgresql.listen",
    "postgresql.data_dir",
    "postgresql.bin_dir", "postgresql.bin_name", "postgresql.bin_name.postgres", "postgresql.custom_conf",
    "postgresql.recovery_conf",
    "postgresql.recovery_conf.restore_command", "postgresql.authentication.superuser.password", "postgresql.pg_ident",
    "postgresql.pgpass", "postgresql.from_leader", "bootstrap.dcs.synchronous_mode",
    "bootstrap.dcs.synchronous_mode_strict",
    "bootstrap.dcs.synchronous_node_count", "bootstrap.dcs.pause", "bootstrap.post_init", "bootstrap.method",
    "bootstrap.users",
    "bootstrap.users.admin.password", "bootstrap.initdb", "bootstrap.pg_hba", "bootstrap.dcs.postgresql.pg_hba",
    "bootstrap.dcs.postgresql.custom_conf", "bootstrap.dcs.postgresql.recovery_conf",
    "bootstrap.dcs.postgresql.bin_dir",
    "bootstrap.dcs.postgresql.pg_ident", "synchronous_mode", "pause", "ttl", "parameters", "pg_hba", "citus",
    "postgresql.parameters.fsync",
    "bootstrap.dcs.postgresql.parameters.fsync", "bootstrap.dcs.parameters", "bootstrap.postgresql",
    "bootstrap.dcs.nofailover",
])
def test_refused_by_name(path: str) -> None:
    """What may not be overridden is refused by its name, once, however deep it is, and its value is not shown."""
    tree: Any = "hunter2"
    for key in reversed(path.split(".")):
        tree = {key: tree}
    (problem,) = refusals(yaml.safe_dump(tree))
    assert problem.name.startswith("SPILO_CONFIGURATION: ")
    assert path.startswith(problem.name.removeprefix("SPILO_CONFIGURATION: "))
    assert problem.fix
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize("path", [
    "bootstrap", "postgresql", "restapi", "log", "tags", "watchdog", "bootstrap.dcs", "bootstrap.dcs.postgresql",
    "postgresql.parameters", "bootstrap.dcs.postgresql.parameters",
])
@pytest.mark.parametrize("value", [None, "x", [1], False])
def test_mapping_is_not_replaced(path: str, value: object) -> None:
    """A whole section cannot be swept away by null, a text or a list, and with it what makes it safe."""
    tree: Any = value
    for key in reversed(path.split(".")):
        tree = {key: tree}
    (problem,) = refusals(yaml.safe_dump(tree))
    assert (problem.name, problem.fix) == (f"SPILO_CONFIGURATION: {path}", "give a mapping, or remove it")


def test_sections_are_known() -> None:
    """Every mapping of ours that can be overridden is one that cannot be replaced by something else."""
    plain = rendered("{}")

    def mappings(tree: dict[str, Any], prefix: str) -> list[str]:
        found = [f"{prefix}{key}" for key, value in tree.items() if isinstance(value, dict)]
        return found + [path for key in tree if isinstance(tree[key], dict) for path in mappings(tree[key],
                                                                                                 f"{prefix}{key}.")]

    for path in mappings(plain, ""):
        tree: Any = None
        for key in reversed(path.split(".")):
            tree = {key: tree}
        assert refusals(yaml.safe_dump(tree)), path


def test_keys_are_patronis() -> None:
    """The keys of the cluster-wide part are known to Patroni, and those that it has a default for are all there."""
    ours = set(overrides.KEYS["bootstrap.dcs."])
    source = "".join(inspect.getsource(module) for module in (config, global_config, ha))
    assert [key for key in ours if f"'{key}'" not in source] == []
    assert {key for key in config.Config.get_default_config() if not key.startswith("synchronous_")} <= ours


def test_did_you_mean() -> None:
    """A key that Patroni would ignore in silence is refused, with the nearest one that there is."""
    (problem,) = refusals("{postgresq: {parameters: {}}}")
    assert problem.fix == "did you mean postgresql?"
    (problem,) = refusals("{bootstrap: {dcs: {loopwait: 5}}}")
    assert problem.fix == "did you mean bootstrap.dcs.loop_wait?"


@pytest.mark.parametrize("where", ["{{postgresql: {{parameters: {{{}}}}}}}",
                                   "{{bootstrap: {{dcs: {{postgresql: {{parameters: {{{}}}}}}}}}}}"])
@pytest.mark.parametrize("text", [
    "fsync: off", "FSYNC: 'off'", "Full_Page_Writes: off", "synchronous_standby_names: ''", "port: 1", "jit: on",
    "SSL: off",
    "password_encryption: md5", "hot_standby: off", "include: /tmp/x.conf", "Include_If_Exists: x", "include_dir: x",
    "data_sync_retry: on",
    "recovery_target_action: promote", "recovery_target: immediate", "synchronous_commit: off",
    "synchronous_commit: false",
    "SYNCHRONOUS_COMMIT: LOCAL", "synchronous_commit: 0", "synchronous_commit: 'no'", "synchronous_commit: null",
    "\"work_mem = '1MB'\\nfsync\": off", "'fsync ': off", "1: 2", "work_mem: \"1MB\\nfsync = off\"",
    "pg_stat_statements: {track: all}",
    "work_mem: [1]", "unix_socket_directories: /tmp", "hba_file: /tmp/hba", "archive_mode: on",
    "zero_damaged_pages: on",
])
def test_refused_parameter(where: str, text: str) -> None:
    """A parameter that would endanger data, or the appliance, is refused in any spelling and on any way."""
    (problem,) = refusals(where.format(text))
    assert "parameters." in problem.name


@pytest.mark.parametrize("text", [
    "work_mem: 64MB", "Work_Mem: 64MB", "synchronous_commit: remote_apply", "synchronous_commit: on",
    "synchronous_commit: 'ON'",
    "synchronous_commit: remote_write", "pg_stat_statements.track: top", "log_statement: ddl", "commit_delay: 10",
    "TimeZone: Europe/Berlin",
    "search_path: '\"$user\", public'", "shared_buffers: 1GB",
])
def test_accepted_parameter(text: str) -> None:
    """Any other parameter is accepted."""
    assert refusals(f"{{postgresql: {{parameters: {{{text}}}}}}}") == []


def test_parameters_that_all_members_share() -> None:
    """A parameter that Patroni ignores for a single member is refused there and accepted for the cluster."""
    (problem,) = refusals("{postgresql: {parameters: {Max_Connections: 500}}}")
    assert "bootstrap.dcs.postgresql.parameters.max_connections" in problem.fix
    assert refusals("{bootstrap: {dcs: {postgresql: {parameters: {max_connections: 500}}}}}") == []


def test_parameters_that_patroni_keeps_for_the_cluster() -> None:
    """None of our defaults for a member is one that Patroni takes from the cluster's part only."""
    shared = {name.lower() for name in ConfigHandler.CMDLINE_OPTIONS}
    member = {*parameters.MANDATORY, *rendered("{}")["postgresql"]["parameters"]}
    assert member & shared == set()
    assert {*parameters.SHARED_DEFAULT, *parameters.SHARED_MANDATORY} <= shared


def test_mandatory_parameters_are_blocked() -> None:
    """What always wins is refused rather than ignored."""
    assert {*parameters.MANDATORY, *parameters.SHARED_MANDATORY} <= set(parameters.BLOCKED)
    assert {name for name in parameters.BLOCKED if name != name.lower()} == set()


GOOD_LINES = [
    "hostssl all all all scram-sha-256",
    "hostssl all all 0.0.0.0/0 scram-sha-256",
    "hostssl all all 10.0.0.0 255.0.0.0 scram-sha-256",
    "hostssl all all ::/0 scram-sha-256",
    "hostssl all all fe80:: ffff:: scram-sha-256",
    "hostssl\tapp,\"my db\"\tapp , all\t.example.com\tscram-sha-256".replace(" , all", ""),
    "hostssl sameuser all samenet cert map=people",
    "hostssl all all samehost cert clientcert=verify-full  # people",
    'hostssl all all all ldap ldapserver=ldap.example.com ldapprefix="uid=" ldapsuffix=", dc=example, dc=com"',
    "hostssl all +admins,/^app.*$ db.example.com scram-sha-256",
    "host all all 192.0.2.0/24 reject",
    "hostnossl all all all reject",
    "host all all 192.0.2.0 255.255.255.0 reject",
    "# a comment",
    "",
    "   ",
]
BAD_LINES = [
    ("hostssl all all all trust", "instead of trust"),
    ("hostssl all all all password", "instead of password"),
    ("hostssl all all all md5", "instead of md5"),
    ("hostssl all all all ident", "instead of ident"),
    ("hostssl all all all peer", "instead of peer"),
    ("hostssl all all 10.0.0.0 255.0.0.0 trust", "instead of trust"),
    ("hostssl all all 10.0.0.0/8 trust # scram-sha-256", "instead of trust"),
    ("hostssl all all all trust scram-sha-256", "as name=value, not scram-sha-256"),
    ("hostssl all all all trust reject", "as name=value, not reject"),
    ("hostssl all all all scram-sha-256 mapp=x", "as name=value, not mapp"),
    ("hostssl reject all all trust", "instead of trust"),
    ("hostssl all scram-sha-256 all trust", "instead of trust"),
    ("hostssl all all scram-sha-256 trust", "instead of trust"),
    ('hostssl all all all "trust"', "instead of"),
    ("hostssl all all all scram-sha-256,trust", "instead of"),
    ('hostssl "all scram-sha-256" all all trust', "instead of trust"),
    ("host all all all scram-sha-256", "use hostssl"),
    ("hostnossl all all all scram-sha-256", "use hostssl"),
    ("hostgssenc all all all gss", "use hostssl"),
    ("hostnogssenc all all all scram-sha-256", "use hostssl"),
    ("HOSTSSL all all all scram-sha-256", "start the line with hostssl"),
    ("local all all trust", "remove the line"),
    ("local all all peer", "remove the line"),
    ("include /tmp/hba.conf", "start the line with hostssl"),
    ("include_dir /tmp", "start the line with hostssl"),
    ("@/tmp/hba", "start the line with hostssl"),
    ("hostssl all @/tmp/users all scram-sha-256", "not in a file"),
    ("hostssl app,@dbs all all scram-sha-256", "not in a file"),
    ("hostssl all all scram-sha-256", "give type, database, user, address and method"),
    ("hostssl all all 10.0.0.0 scram-sha-256", "10.0.0.0/32"),
    ("hostssl all all :: scram-sha-256", "::/128"),
    ("hostssl all all 10.0.0.0 255.0.0.0", "give a method"),
    ("hostssl all all 10.0.0.0/33 scram-sha-256", "instead of 10.0.0.0/33"),
    ("hostssl all all 10.0.0.0/255.0.0.0 scram-sha-256", "instead of 10.0.0.0/255.0.0.0"),
    ('hostssl "all all all scram-sha-256', "close the quote"),
    ("hostssl all all all scram-sha-256\nhost all all all trust", "one line an entry"),
    ("hostssl all all all \\", "one line an entry"),
    ("# harmless \\", "one line an entry"),
]


@pytest.mark.parametrize("line", GOOD_LINES)
def test_accepted_line(line: str) -> None:
    """A line of pg_hba.conf that is encrypted and asks for proof, or lets nobody in, is accepted."""
    assert hba.unsafe(line, plain=False) is None


@pytest.mark.parametrize(("line", "fix"), BAD_LINES)
def test_refused_line(line: str, fix: str) -> None:
    """Any other line is refused, with what to write instead."""
    assert fix in (hba.unsafe(line, plain=False) or "")


@pytest.mark.parametrize(("line", "fix"), [
    ("host all all all scram-sha-256", None),
    ("hostnossl all all all scram-sha-256", None),
    ("host all all all trust", "instead of trust"),
    ("host all all all md5", "instead of md5"),
    ("host all all all cert", "use hostssl"),
    ("host replication standby all scram-sha-256", "replication is always encrypted"),
    ('host rep"lication" standby all scram-sha-256', "replication is always encrypted"),
    ("host app,replication standby all scram-sha-256", "replication is always encrypted"),
    ('host "replication" standby all scram-sha-256', None),
    ("host replication standby all reject", None),
])
def test_line_with_allow_nossl(line: str, fix: str | None) -> None:
    """With ALLOW_NOSSL clients may come without TLS, but not without proof, and not for replication."""
    found = hba.unsafe(line, plain=True)
    assert found is None if fix is None else fix in (found or "")


WORDS = ["hostssl", "host", "local", "all", "replication", "10.0.0.0/8", "10.0.0.0", "255.0.0.0", "trust", "md5",
         "scram-sha-256", "reject",
         "x=y", '"a b"', ",", "#", "@f", "\\"]


@given(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join))
def test_lines_as_postgresql_reads_them(line: str) -> None:
    """Whatever the words, a line that is accepted and lets somebody in is hostssl with a method that asks for proof."""
    if hba.unsafe(line, plain=False) is None:
        words = hba.tokens(line)
        assert not words or words[0] == "hostssl" or "reject" in words[4:6]
        assert not words or not {"trust", "md5"} & set(words[4:5])


def test_pg_hba_through_the_setting() -> None:
    """Each refused line is a problem of its own, and options, which can be secrets, are not shown."""
    problems = refusals("{postgresql: {pg_hba: ['host all all all trust', "
                        "'hostssl all all all ldap x ldapbindpasswd=hunter2']}}")
    assert [problem.name for problem in problems] == ["SPILO_CONFIGURATION: postgresql.pg_hba"] * 2
    assert problems[0].given == "'host all all all trust'"
    assert "hunter2" not in str(problems[1])
    assert refusals("{postgresql: {pg_hba: [host all all all scram-sha-256]}}", ALLOW_NOSSL="true") == []
    assert len(refusals("{postgresql: {pg_hba: [host all all all scram-sha-256]}}", ALLOW_NOSSL="false")) == 1


@pytest.mark.parametrize("value", ["null", "text", "{a: b}", "[1]", "[[hostssl, all]]", "[null]"])
def test_pg_hba_is_a_list_of_texts(value: str) -> None:
    """Anything but a list of texts is refused as a whole."""
    (problem,) = refusals(f"{{postgresql: {{pg_hba: {value}}}}}")
    assert problem.fix == "give a list of lines, each a text"


def test_own_lines_come_first() -> None:
    """Lines of ours let people inside in and members reach one another, whatever lines are given."""
    lines = rendered("{postgresql: {pg_hba: [host all all all reject]}}")["postgresql"]["pg_hba"]
    assert lines[:2] == ["local all all peer map=spilo", "local replication all peer map=spilo"]
    assert lines[2] == 'hostssl replication "standby" all scram-sha-256'
    assert lines[-1] == "host all all all reject"


@pytest.mark.parametrize("environ", [{}, {"ALLOW_NOSSL": "true"}])
def test_our_own_lines_are_safe(environ: dict[str, str]) -> None:
    """Our lines for the network stand up to our own rules, with ALLOW_NOSSL and without."""
    lines = [line for line in rendered("{}", **environ)["postgresql"]["pg_hba"] if not line.startswith("local ")]
    assert [line for line in lines if hba.unsafe(line, plain=bool(environ))] == []
    assert any(line.startswith("host ") for line in lines) == bool(environ)


@pytest.mark.parametrize(("durability", "timings"), list(itertools.product(patroni.DURABILITY, patroni.TIMINGS)))
def test_durability_and_timings(durability: str, timings: str) -> None:
    """DURABILITY and TIMINGS set what they promise, and the times hold Patroni's own rules."""
    dcs = rendered("{}", DURABILITY=durability, TIMINGS=timings)["bootstrap"]["dcs"]
    assert (dcs["ttl"], dcs["loop_wait"], dcs["retry_timeout"]) == patroni.TIMINGS[timings]
    assert dcs["loop_wait"] + 2 * dcs["retry_timeout"] <= dcs["ttl"] >= 20
    assert {key: dcs[key] for key in patroni.DURABILITY[durability]} == patroni.DURABILITY[durability]


def test_etcd_password_reaches_patroni() -> None:
    """The login for etcd goes into Patroni's file as it was given."""
    found = yaml.safe_load(content(make({**CLUSTER, "ETCD_USERNAME": "u", "ETCD_PASSWORD": "it's a&b: %(x)s #"}),
                                   "patroni.yml"))
    assert (found["etcd3"]["username"], found["etcd3"]["password"]) == ("u", "it's a&b: %(x)s #")


def test_nothing_given() -> None:
    """An empty SPILO_CONFIGURATION changes nothing."""
    assert rendered("# nothing") == rendered("{}")
    assert good({"PATRONI_CONFIGURATION": "{tags: {a: 1}}"})["SPILO_CONFIGURATION"] == {"tags": {"a": 1}}
