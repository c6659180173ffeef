"""Entry point of `python -m runtime.backup WORK ...`: imports only what that work needs, because the scheduler stays.

All work but the scheduler's steps back for PostgreSQL: a low priority for processor and disk, and it is the first to be
ended when memory runs out.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from pathlib import Path

from runtime.log import Log
from runtime.trouble import Exit, Trouble, run

WORK = {"schedule": "scheduler", "look": "look", "take": "take", "expire": "expire", "verify": "drill"}


def step_back() -> None:
    """Let everything else on this machine go first, as far as the system allows."""
    import psutil  # type: ignore[import-untyped]

    with contextlib.suppress(OSError, psutil.Error):
        os.setpriority(os.PRIO_PROCESS, 0, 10)
        psutil.Process().ionice(psutil.IOPRIO_CLASS_BE, 7)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def main() -> int:
    name, *arguments = sys.argv[1:] or [""]
    if name not in WORK:
        raise Trouble(Exit.USAGE, f"no such work: {name}", f"known: {', '.join(WORK)}")
    if name != "schedule":
        step_back()
    return int(importlib.import_module(f"runtime.backup.{WORK[name]}").main(arguments) or Exit.OK)


if __name__ == "__main__":
    sys.exit(run(main, Log("backup")))
