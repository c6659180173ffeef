"""Base backups over their whole life: taken, expired, and proven by restoring them.

scheduler  what runs beside PostgreSQL and decides what is due; the work itself is done by its child processes
look       what there is in the store, told to the cluster
take       one base backup of the primary
expire     removes what retention no longer wants
drill      restores the newest backup into scratch space and checks that everything is there

`python -m runtime.backup WORK` does one of them, for the scheduler as for `spilo backup`.
"""

from __future__ import annotations

from runtime.tool import tool

DRILL_LOCK = "verify-lock"  # among the records of the cluster; held by the member whose drill is under way


def command(spec: str) -> tuple[str, ...]:
    """Command line of the scheduler; `spec` is the path of steward.json."""
    return tool("runtime.backup", "schedule", f"--spec={spec}")


def work(name: str, spec: str) -> tuple[str, ...]:
    """Command line of one piece of work (look, take, expire, verify) as the scheduler wants it done."""
    more = ("--yes",) if name == "expire" else ()
    return tool("runtime.backup", name, f"--spec={spec}", *more)
