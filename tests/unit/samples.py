"""Values that several unit tests share: environments, a machine, a plan."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from bootstrap import layout, overrides, plan, settings
from bootstrap.facts import Facts
from bootstrap.kinds import Secret
from bootstrap.settings import Problem, Settings
from runtime.authority import authority, issue

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
MACHINE = Facts(memory=8 << 30, cpus=4, volume=100 << 30, shm=64 << 20, address="192.0.2.10", hostname="one",
                user="postgres")
SECRET = Secret("0123456789abcdef0123456789abcdef")
CLUSTER = {"ETCD_HOST": "etcd.example.com", "SCOPE": "demo", "CLUSTER_SECRET": SECRET.reveal()}
AUTHORITY, AUTHORITY_KEY = (one.decode() for one in authority(bytes(range(48)), "elsewhere"))
CERTIFICATE, KEY = (one.decode() for one in issue(AUTHORITY.encode(), AUTHORITY_KEY.encode(), ("db.example.com",), NOW))
CRL = "-----BEGIN X509 CRL-----\nMIH=\n-----END X509 CRL-----\n"


def no_file(path: str) -> str:
    """A reader of files for environments that name none."""
    raise AssertionError(f"nothing should read {path}")


def read(environ: Mapping[str, str], files: Mapping[str, str] | None = None) -> tuple[Settings, list[Problem]]:
    """Settings and problems as the boot sees them; `files` stands for the file system."""

    def read_file(path: str) -> str:
        if path not in (files or {}):
            raise FileNotFoundError(2, "No such file or directory", path)
        return (files or {})[path]

    return settings.read(environ, read_file if files is not None else no_file, overrides.check)


def good(environ: Mapping[str, str]) -> Settings:
    """Settings from an environment that has no problem."""
    found, problems = read(environ)
    assert problems == []
    return found


def refusals(configuration: str, **environ: str) -> list[Problem]:
    """The problems that a SPILO_CONFIGURATION makes."""
    return read({"SPILO_CONFIGURATION": configuration, **environ})[1]


def make(environ: Mapping[str, str], root: str = "/", **facts: Any) -> plan.Plan:
    """The plan of an environment on MACHINE, with `facts` changed."""
    found = good(environ)
    secret = found["CLUSTER_SECRET"] or SECRET
    return plan.make(found, dataclasses.replace(MACHINE, **facts), layout.make(found, root), secret)


def content(made: plan.Plan, name: str) -> str:
    """The text of the one file with this name in a plan."""
    (text,) = [file.content.decode() for file in made.files if file.path.name == name]
    return text
