"""Runs the parts that are named, all of them by default."""

from __future__ import annotations

import argparse

from tests.bench.appliance import cold, memory, size
from tests.bench.durability import durability
from tests.bench.faults import faults
from tests.bench.proxies import proxies

PARTS = {"size": size, "cold": cold, "memory": memory, "faults": faults, "durability": durability, "proxies": proxies}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures the appliance; prints Markdown, judges nothing.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all by default")
    chosen = parser.parse_args().parts or list(PARTS)
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    for part in chosen:
        PARTS[part]()


if __name__ == "__main__":
    main()
