"""Fixtures of the appliance layer: a world for single containers, one cluster a module, and the ledger over it."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.kit import timings, world
from tests.kit.cluster import Cluster
from tests.kit.ledger import Ledger
from tests.kit.world import World

LEDGERS: list[Ledger] = []


def pytest_configure() -> None:
    """`docker stop` of a run cleans up like Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))


@pytest.fixture
def engine_world() -> Iterator[World]:
    """A place for containers, networks and volumes of one test."""
    with World() as made:
        yield made


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three etcd, three members, healthy at first; for all tests of a module, which leave it healthy."""
    with Cluster() as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def ledger(cluster: Cluster) -> Iterator[Ledger]:
    """Writes from the first test of the module to the last."""
    with Ledger({member.short: member.dsn() for member in cluster.members}) as made:
        LEDGERS.append(made)
        yield made
    LEDGERS.remove(made)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that fails leaves every container's log, and the account of the ledger, in logs/."""
    report = yield
    if report.failed:
        for index, one in enumerate(list(world.OPEN)):
            folder = one.keep_logs(f"{item.name}{f'.{index}' if index else ''}")
            for ledger_ in LEDGERS:
                ledger_.dump(folder / "ledger.txt")
            report.sections.append(("logs", f"kept in {folder.relative_to(world.LOGS.parent)}"))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of times."""
    lines = timings.table()
    if lines:
        terminalreporter.section("times (seconds, for information)")
        for line in lines:
            terminalreporter.write_line(line)
