"""Times worth knowing, collected during a run and printed as a table at its end. They are printed, never asserted."""

from __future__ import annotations

ROWS: list[tuple[str, str, float]] = []


def note(what: str, kind: str, seconds: float) -> None:
    """Keep one number; `kind` says what it is, such as "pause" or "first write"."""
    ROWS.append((what, kind, seconds))
    print(f"{what}: {kind} {seconds:.2f} s")


def table() -> list[str]:
    """The lines of the table, empty when nothing was noted."""
    if not ROWS:
        return []
    width = max(len(what) for what, _, _ in ROWS)
    kinds = max(len(kind) for _, kind, _ in ROWS)
    return [f"{what:<{width}}  {kind:<{kinds}}  {seconds:7.2f} s" for what, kind, seconds in ROWS]
