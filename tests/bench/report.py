"""Tables of measurements: median, extremes, and the ratio to the first column."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence


def spread(values: Sequence[float]) -> str:
    """`median (lowest-highest)`, or a dash where nothing was measured."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def compare(title: str, unit: str, rows: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """A Markdown table: a row for each key of `rows`, a column for each variant, and each variant's ratio to the first."""
    variants = list(next(iter(rows.values())))
    print(f"\n### {title} ({unit}: median (lowest-highest))\n")
    heads = ["", *variants, *(f"{one} / {variants[0]}" for one in variants[1:])]
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for name, measured in rows.items():
        base = measured[variants[0]]
        ratios = [f"{statistics.median(measured[one]) / statistics.median(base):.2f}" if measured[one] and any(base) else "-"
                  for one in variants[1:]]
        print("| " + " | ".join([name, *(spread(measured[one]) for one in variants), *ratios]) + " |", flush=True)
