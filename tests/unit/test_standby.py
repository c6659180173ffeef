"""Standby clusters: what Patroni is told, what the steward must leave alone, and what people read."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from runtime.cli import view
from runtime.spec import ENVIRONMENT
from runtime.steward.dynamic import changes
from tests.unit import samples

BASE = {"ETCD_HOST": "etcd", "SCOPE": "west", "CLUSTER_SECRET": samples.SECRET.reveal(), "PGPASSWORD_STANDBY": "there",
        "PGPASSWORD_SUPERUSER": "there too"}
HOST = {"STANDBY_HOST": "east.example.com", "STANDBY_PORT": "5433"}
ARCHIVE = {"STANDBY_SCOPE": "east", "STANDBY_WAL_S3_BUCKET": "bucket"}


def rendered(**given: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(patroni.yml, steward.json) of a member."""
    made = samples.make({**BASE, **given})
    return yaml.safe_load(samples.content(made, "patroni.yml")), json.loads(samples.content(made, "steward.json"))


@pytest.mark.parametrize(("given", "methods", "keys"), [
    (HOST, ["from_leader"], {"host", "port"}),
    ({**HOST, "STANDBY_PRIMARY_SLOT_NAME": "west"}, ["from_leader"], {"host", "port", "primary_slot_name"}),
    (ARCHIVE, ["from_source", "from_leader"], {"restore_command"}),
    ({**HOST, **ARCHIVE}, ["from_source", "from_leader"], {"host", "port", "restore_command"}),
])
def test_what_is_followed(given: dict[str, str], methods: list[str], keys: set[str]) -> None:
    """The section standby_cluster has the ways that were given, and how its members are made; the archive that is read is
    that of the reader for it. Only this section names `from_source`, which so ends with the following."""
    config, spec = rendered(**given)
    section = config["bootstrap"]["dcs"]["standby_cluster"]
    assert section.keys() == keys | {"create_replica_methods"}
    assert section["create_replica_methods"] == methods
    assert all(method in config["postgresql"] for method in methods)
    assert "source.sock standby" in section.get("restore_command", "source.sock standby")
    assert "from_source" not in config["postgresql"]["create_replica_methods"]
    assert config["postgresql"].get("from_source", {"no_leader": True})["no_leader"] is True
    assert spec["follow"]


def test_logins_elsewhere_are_bound_to_the_session() -> None:
    """The other cluster has another authority, so what holds there is the password, bound to the TLS session; Patroni's own
    logins over the unix socket know no TLS and stay as they were."""
    config, _ = rendered(**HOST)
    given = config["postgresql"]["authentication"]
    for kind in ("replication", "rewind"):
        assert (given[kind]["sslmode"], given[kind]["channel_binding"]) == ("require", "require")
        assert "sslrootcert" not in given[kind]
    assert given["superuser"]["sslmode"] == "verify-ca"
    assert config["postgresql"]["use_unix_socket_repl"] is False
    config, _ = rendered(**ARCHIVE)
    assert config["postgresql"]["authentication"]["replication"]["sslmode"] == "verify-ca"
    assert "rewind" not in config["postgresql"]["authentication"]
    assert config["postgresql"]["use_unix_socket_repl"] is True


def test_the_environment_never_makes_a_standby_of_a_primary() -> None:
    """What the steward brings into etcd has no standby_cluster, neither to put it back after a promotion nor to begin one."""
    config, spec = rendered(**HOST, **ARCHIVE)
    assert "standby_cluster" not in spec["dynamic"]
    noted = config["bootstrap"]["dcs"][ENVIRONMENT]
    assert changes(noted, spec["dynamic"]) == {}
    assert changes(rendered()[1]["dynamic"], spec["dynamic"]) == {}


@pytest.mark.parametrize(("section", "text"), [
    ({"host": "east", "port": 5433}, "east:5433"),
    ({"restore_command": "x"}, "an archive"),
    ({"host": "east", "restore_command": "x"}, "east:5432 and an archive"),
    ({}, ""),
])
def test_what_people_read(section: dict[str, Any], text: str) -> None:
    """`spilo status` says what is followed, and that nothing is written here."""
    config = {"standby_cluster": section or None, "synchronous_mode": "quorum"}
    assert view.followed(config) == text
    words = view.durability(config, (), {"role": "standby_leader"}).words
    assert (f"follows {text}, accepts no writes" in words) is bool(text)
