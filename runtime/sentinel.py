"""A supervisord event listener that ends the container when a program fails for good, and records why.

supervisord itself would go on with the others, and exit 0 when told to stop. PID 1 reads the record (`reason`) and
exits with Exit.PROGRAM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from supervisor import childutils

from runtime.log import Log
from runtime.tool import tool
from runtime.trouble import Exit

# Codes after which starting again cannot help.
FINAL = (Exit.SETTINGS, Exit.REFUSED)


def command(last_words: str) -> tuple[str, ...]:
    """Command line; `last_words` is the folder in which programs leave their reasons."""
    return tool("runtime.sentinel", last_words)


def verdict(event: str, program: str, folder: Path) -> list[str] | None:
    """Why the container has to end because of this event, as lines; None if it does not."""
    try:
        words = json.loads((folder / program).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        words = {"code": None, "lines": []}
    if words["code"] in FINAL:
        return [f"{program} refused to go on", *words["lines"]]
    if event == "PROCESS_STATE_FATAL":
        return [f"{program} ended again and again right after its start; its own lines above say why", *words["lines"]]
    return None


def main() -> None:
    log = Log("sentinel")
    folder = Path(sys.argv[1])
    answers = sys.stdout
    sys.stdout = sys.stderr  # the protocol owns stdout, the log does not
    while True:
        headers, payload = childutils.listener.wait(sys.stdin, answers)
        program = dict(pair.split(":") for pair in payload.split()).get("processname", "?")
        reason = verdict(headers["eventname"], program, folder)
        if reason:
            log.error("ending the container", program=program)
            (folder / "reason").write_text("\n".join(reason), encoding="utf-8")
            os.kill(os.getppid(), signal.SIGTERM)
        childutils.listener.ok(answers)


if __name__ == "__main__":
    main()
