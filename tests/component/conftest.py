"""What the component tests share: a member that stands alone, an etcd, and the logs of everything when a test fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.component.servers import Etcd
from tests.component.support import Node, Process, adopt, folder, running
from tests.kit.s3 import Moto

TAIL = 120  # lines of each log in the report of a failed test


def pytest_configure(config: pytest.Config) -> None:
    adopt()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the end of every log; `LOGS` names a folder that keeps them whole."""
    report = yield
    if report.failed:
        for process in {one.name: one for one in Process.started}.values():
            report.sections.append((f"log of {process.name}", "\n".join(process.text().splitlines()[-TAIL:])))
            if os.environ.get("LOGS"):
                kept = Path(os.environ["LOGS"]) / item.name.replace("/", "_")
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copy(process.log, kept)
    return report


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Only what still runs belongs to the report of the next test."""
    yield
    Process.started[:] = [one for one in Process.started if one.running]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for one test."""
    made = folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def alone() -> Iterator[Node]:
    """A running member that stands alone, for tests that leave it as it was."""
    node = Node("alone", folder())
    with running(node):
        node.start()
        node.until("primary")
        yield node


@pytest.fixture(scope="session")
def etcd() -> Iterator[Etcd]:
    """A plain etcd; tests take different scopes in it."""
    server = Etcd("etcd", folder())
    with running(server):
        server.start()
        server.until_healthy()
        yield server


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    """A store with the bucket `here`, which checks credentials and conditions."""
    made = Moto("moto", folder())
    with running(made):
        made.start()
        made.until_ready()
        made.bucket("here")
        yield made
