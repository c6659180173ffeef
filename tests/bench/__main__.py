"""Runs the parts that are named, by default all that need an engine."""

from __future__ import annotations

import argparse

from tests.bench.appliance import cold, memory, size
from tests.bench.durability import durability
from tests.bench.faults import faults
from tests.bench.proxies import proxies
from tests.bench.replica import replica
from tests.bench.wal import wal

PARTS = {"size": size, "cold": cold, "memory": memory, "faults": faults, "durability": durability, "proxies": proxies}
# Run as the image's user and without the engine, hence not together with the others (`make bench-wal`).
APART = {"wal": wal, "replica": replica}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures the appliance; prints Markdown, judges nothing.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)} (all by default), {', '.join(APART)}")
    chosen = parser.parse_args().parts or list(PARTS)
    unknown = sorted(set(chosen) - set(PARTS | APART))
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    for part in chosen:
        (PARTS | APART)[part]()


if __name__ == "__main__":
    main()
