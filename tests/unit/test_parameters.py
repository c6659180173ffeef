"""PostgreSQL's parameters that follow from the machine."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import parameters
from bootstrap.facts import Facts
from bootstrap.parameters import GB, MB
from tests.unit.samples import MACHINE

BOUNDS = {
    "shared_buffers": (32 * MB, 64 * GB),
    "effective_cache_size": (1 * MB, 1 << 60),
    "work_mem": (4 * MB, 64 * MB),
    "maintenance_work_mem": (32 * MB, 2 * GB),
    "max_wal_size": (512 * MB, 16 * GB),
    "min_wal_size": (64 * MB, 2 * GB),
    "max_slot_wal_keep_size": (256 * MB, 100 * GB),
}
MACHINES = st.builds(lambda memory, volume, shm: dataclasses.replace(MACHINE, memory=memory, volume=volume, shm=shm),
                     st.integers(64 * MB, 4096 * GB), st.integers(64 * MB, 65536 * GB), st.integers(0, 512 * GB))


def sizes(machine: Facts) -> dict[str, int]:
    """The sized parameters in bytes."""
    return {name: int(value.removesuffix("MB")) * MB for name,
            value in parameters.sized(machine).items() if value.endswith("MB")}


@given(MACHINES)
def test_bounds_and_units(machine: Facts) -> None:
    """Every size is a whole number of MB, which PostgreSQL understands, and within its bounds."""
    found = parameters.sized(machine)
    assert {name for name, value in found.items() if re.fullmatch(r"[1-9][0-9]*MB", value)} == set(BOUNDS)
    assert found["dynamic_shared_memory_type"] in ("posix", "sysv")
    for name, (low, high) in BOUNDS.items():
        assert low <= sizes(machine)[name] <= high, name


@given(MACHINES, st.integers(0, 1024 * GB), st.integers(0, 1024 * GB))
def test_more_machine_is_never_less(machine: Facts, memory: int, volume: int) -> None:
    """More memory and a larger volume never make a size smaller (but work_mem, which more connections share)."""
    more = dataclasses.replace(machine, memory=machine.memory + memory, volume=machine.volume + volume)
    assert parameters.max_connections(more.memory) >= parameters.max_connections(machine.memory)
    for name, size in sizes(machine).items():
        if name != "work_mem":
            assert sizes(more)[name] >= size, name


@given(MACHINES)
def test_it_fits(machine: Facts) -> None:
    """Shared buffers and one sort in every connection fit into half of the memory that any real member has."""
    found, connections = sizes(machine), parameters.max_connections(machine.memory)
    assert 100 <= connections <= 1000
    if machine.memory >= 2 * GB:
        assert found["shared_buffers"] + connections * found["work_mem"] <= machine.memory / 2 + 400 * MB
    assert found["min_wal_size"] < found["max_wal_size"]


@pytest.mark.parametrize(("memory", "shm", "kind"), [
    (8 * GB, 64 * MB, "sysv"), (8 * GB, GB - 1, "sysv"), (8 * GB, GB, "posix"), (512 * MB, 64 * MB, "posix"),
])
def test_shared_memory(memory: int, shm: int, kind: str) -> None:
    """Parallel queries use /dev/shm only where it is large enough for them."""
    assert parameters.sized(dataclasses.replace(MACHINE, memory=memory, shm=shm))["dynamic_shared_memory_type"] == kind


@pytest.mark.parametrize(("memory", "connections"), [(512 * MB, 100), (3000 * MB, 100), (8 * GB, 273), (64 * GB, 1000)])
def test_connections(memory: int, connections: int) -> None:
    """A connection for each 30 MB, between 100 and 1000."""
    assert parameters.max_connections(memory) == connections
