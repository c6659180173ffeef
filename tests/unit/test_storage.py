"""The settings of object stores: what contradicts, and the environment that wal-e and our programs get."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bootstrap.plan import Plan
from tests.unit.samples import CLUSTER, content, make, read

ARCHIVED = {**CLUSTER, "WAL_S3_BUCKET": "backups"}
FOLLOWING = {**ARCHIVED, "PGPASSWORD_STANDBY": "theirs"}


def variables(plan: Plan, folder: str = "env") -> dict[str, str]:
    """The files of a folder of variables."""
    return {file.path.name: file.content.decode() for file in plan.files if file.path.parent.name == folder}


def problems(**environ: str) -> list[str]:
    """The names that are complained about, in a cluster that has an archive."""
    return [problem.name for problem in read({**ARCHIVED, **environ})[1]]


@pytest.mark.parametrize(("environ", "place"), [
    ({"WAL_S3_BUCKET": "backups"}, "s3://backups/spilo/demo/wal/17"),
    ({"WAL_S3_BUCKET": "backups", "WAL_BUCKET_SCOPE_PREFIX": "team/", "WAL_BUCKET_SCOPE_SUFFIX": "-eu"},
     "s3://backups/spilo/team/demo-eu/wal/17"),
    ({"WALE_S3_PREFIX": "s3://backups/elsewhere/"}, "s3://backups/elsewhere"),
    ({"WALG_S3_PREFIX": "s3://backups/else/where"}, "s3://backups/else/where"),
])
def test_place(environ: dict[str, str], place: str) -> None:
    """The archive lies where Spilo and WAL-E look for it."""
    assert variables(make({**CLUSTER, **environ}))["WALE_S3_PREFIX"] == place


@pytest.mark.parametrize(("environ", "endpoint", "encryption"), [
    ({}, None, "AES256"),
    ({"AWS_ENDPOINT": "http://store:8333"}, "http+path://store:8333", "none"),
    ({"AWS_ENDPOINT": "https://s3.example.com"}, "https+path://s3.example.com:443", "none"),
    ({"AWS_ENDPOINT": "https://s3.example.com", "AWS_S3_FORCE_PATH_STYLE": "false"},
     "https+virtualhost://s3.example.com:443", "none"),
    ({"AWS_ENDPOINT": "http://[::1]:9000"}, "http+path://[::1]:9000", "none"),
    ({"WALE_S3_ENDPOINT": "http+path://store:1", "WALE_S3_SSE": "AES256"}, "http+path://store:1", "AES256"),
    ({"WALE_S3_SSE": "aws:kms", "WALE_S3_SSE_KMS_ID": "key"}, None, "aws:kms"),
    ({"WALG_DISABLE_S3_SSE": "true"}, None, "none"),
])
def test_endpoint_and_encryption(environ: dict[str, str], endpoint: str | None, encryption: str) -> None:
    """Endpoints come in WAL-E's spelling; the store encrypts by default where that is AWS."""
    found = variables(make({**ARCHIVED, **environ}))
    assert found.get("WALE_S3_ENDPOINT") == endpoint
    assert found["WALE_S3_SSE"] == encryption


def test_secrets_are_files_of_their_own() -> None:
    """Keys are in files for their owner only, and nowhere else."""
    plan = make({**ARCHIVED, "AWS_ACCESS_KEY_ID": "hidden-key", "AWS_SECRET_ACCESS_KEY": "hidden-secret"})
    with_it = {file.path.name: file.mode for file in plan.files if b"hidden" in file.content}
    assert with_it == {"AWS_ACCESS_KEY_ID": 0o600, "AWS_SECRET_ACCESS_KEY": 0o600}
    assert {file.mode for file in plan.files if file.path.parent.name == "env"} == {0o600}


def test_source_takes_over_what_is_not_given() -> None:
    """The store of a clone's source is like this one's; credentials are taken over all or none."""
    own = {**ARCHIVED, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c", "AWS_REGION": "eu-1",
           "CLONE_SCOPE": "other"}
    assert variables(make(own), "env-clone-other") == {
        **variables(make(own)), "WALE_S3_PREFIX": "s3://backups/spilo/other/wal/17"}
    other = variables(make({**own, "CLONE_AWS_ACCESS_KEY_ID": "x", "CLONE_AWS_SECRET_ACCESS_KEY": "y",
                            "CLONE_WAL_S3_BUCKET": "theirs"}), "env-clone-other")
    assert (other["AWS_ACCESS_KEY_ID"], other.get("AWS_SESSION_TOKEN"), other["AWS_REGION"]) == ("x", None, "eu-1")
    assert other["WALE_S3_PREFIX"] == "s3://theirs/spilo/other/wal/17"


def programs(**environ: str) -> set[str]:
    return {program.name for program in make({**CLUSTER, **environ}).programs}


def test_programs() -> None:
    """Only what is used is started."""
    common = {"governor", "proxy", "sentinel", "steward"}
    assert programs() == common
    assert programs(WAL_S3_BUCKET="backups") == common | {"archiver", "backup"}
    assert programs(CLONE_SCOPE="other", CLONE_WAL_S3_BUCKET="backups") == common | {"source"}
    assert programs(STANDBY_HOST="other", PGPASSWORD_STANDBY="x" * 8) == common


def parameters(**environ: str) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load(content(make({**CLUSTER, **environ}), "patroni.yml"))["postgresql"]["parameters"]
    return found


def test_archiving_is_on_with_a_store_only() -> None:
    """Without a store PostgreSQL is not told that there is an archive."""
    assert parameters()["archive_mode"] == "off"
    archived = parameters(WAL_S3_BUCKET="backups")
    assert archived["archive_mode"] == "on"
    assert "archive.sock" in archived["archive_command"]


@pytest.mark.parametrize(("environ", "names"), [
    ({"WALE_S3_PREFIX": "s3://backups/c"}, ["WAL_S3_BUCKET and WALE_S3_PREFIX"]),
    ({"AWS_ENDPOINT": "http://a", "WALE_S3_ENDPOINT": "http+path://a"}, ["AWS_ENDPOINT and WALE_S3_ENDPOINT"]),
    ({"AWS_ACCESS_KEY_ID": "a"}, ["AWS_SECRET_ACCESS_KEY"]),
    ({"WALE_DISABLE_S3_SSE": "true", "WALE_S3_SSE": "aws:kms"}, ["WALE_S3_SSE"]),
    ({"WALE_S3_SSE": "rot13"}, ["WALE_S3_SSE"]),
    ({"WALE_S3_ENDPOINT": "http://store"}, ["WALE_S3_ENDPOINT"]),
    ({"AWS_ENDPOINT": "store:8333"}, ["AWS_ENDPOINT"]),
    ({"BACKUP_SCHEDULE": "at noon"}, ["BACKUP_SCHEDULE"]),
    ({"BACKUP_SCHEDULE": "0 25 * * *"}, ["BACKUP_SCHEDULE"]),
    ({"VERIFY_SCHEDULE": "never"}, []),
    ({"BACKUP_NUM_TO_RETAIN": "0"}, ["BACKUP_NUM_TO_RETAIN"]),
    ({"BACKUP_RATE_LIMIT": "fast"}, ["BACKUP_RATE_LIMIT"]),
    ({"CLONE_TARGET_TIME": "2026-01-02 03:04:05+00:00"}, ["CLONE_TARGET_TIME"]),
    ({"CLONE_SCOPE": "other", "CLONE_TARGET_TIME": "2026-01-02 03:04:05"}, ["CLONE_TARGET_TIME"]),
    ({"CLONE_SCOPE": "other", "CLONE_TARGET_TIME": "2026-01-02 03:04:05+00:00", "CLONE_TARGET_LSN": "0/1"},
     ["CLONE_TARGET_TIME and CLONE_TARGET_LSN"]),
    ({"CLONE_METHOD": "CLONE_WITH_WALE"}, ["CLONE_SCOPE"]),
    ({"CLONE_METHOD": "CLONE_WITH_BASEBACKUP"}, ["CLONE_HOST", "CLONE_PASSWORD"]),
    ({"CLONE_METHOD": "CLONE_WITH_BASEBACKUP", "CLONE_HOST": "a", "CLONE_PASSWORD": "x" * 8,
      "CLONE_TARGET_LSN": "0/1"}, ["CLONE_TARGET_LSN"]),
    ({"CLONE_SCOPE": "demo"}, ["SCOPE"]),
    ({"CLONE_SCOPE": "other", "CLONE_HOST": "a"}, ["CLONE_PASSWORD"]),
    ({"CLONE_PASSWORD": "x" * 8}, ["CLONE_PASSWORD"]),
    ({"CLONE_SCOPE": "other", "STANDBY_HOST": "a", "PGPASSWORD_STANDBY": "x" * 8}, ["CLONE_METHOD"]),
    ({"STANDBY_HOST": "a"}, ["PGPASSWORD_STANDBY"]),
    ({"STANDBY_PORT": "5433", "PGPASSWORD_STANDBY": "x" * 8}, ["STANDBY_PORT", "STANDBY_PORT"]),
    ({"STANDBY_SCOPE": "demo", "PGPASSWORD_STANDBY": "x" * 8}, ["SCOPE"]),
])
def test_problems(environ: dict[str, str], names: list[str]) -> None:
    """What is incomplete or contradicts stops the start; it never ends in an empty cluster."""
    assert problems(**environ) == names


@pytest.mark.parametrize(("environ", "names"), [
    ({"BACKUP_SCHEDULE": "0 1 * * *"}, ["BACKUP_SCHEDULE"]),
    ({"CLONE_SCOPE": "other"}, ["CLONE_WAL_S3_BUCKET"]),
    ({"STANDBY_SCOPE": "other", "PGPASSWORD_STANDBY": "x" * 8}, ["STANDBY_WAL_S3_BUCKET"]),
])
def test_problems_without_a_store(environ: dict[str, str], names: list[str]) -> None:
    """What needs a store says so."""
    assert [problem.name for problem in read({**CLUSTER, **environ})[1]] == names


def test_what_the_tools_are_told() -> None:
    """steward.json names the stores, the clone and the followed cluster."""
    told = json.loads(content(make({**FOLLOWING, "STANDBY_SCOPE": "other", "STANDBY_HOST": "there"}), "steward.json"))
    assert told["store"]["folder"] == "/run/etc/wal-e.d/env"
    assert told["clone"] is None
    assert told["follow"]["source"]["folder"] == "/run/etc/wal-e.d/env-standby-other"
    assert (told["follow"]["host"], told["follow"]["port"]) == ("there", 5432)
    clone = json.loads(content(make({**ARCHIVED, "CLONE_SCOPE": "other", "CLONE_TARGET_LSN": "0/3000028"}), "steward.json"))
    assert clone["clone"]["target"] == ["lsn", "0/3000028"]


@pytest.mark.parametrize("names", [("http_proxy", "HTTP_PROXY")])
def test_the_same_twice_is_no_contradiction(names: tuple[str, str]) -> None:
    """Docker gives proxies in both spellings; only different values are a problem."""
    assert problems(**dict.fromkeys(names, "http://proxy:3128")) == []
    assert problems(**dict(zip(names, ("http://a:1", "http://b:1"), strict=True))) == [" and ".join(names)]
