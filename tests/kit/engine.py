"""The container engine, through its command line: it is what a person would type, and its errors are readable."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

# The image under test.
IMAGE = os.environ.get("SPILO_IMAGE", "spilo")


class EngineError(Exception):
    """A command of the engine failed; the text is its command line and what it said."""


def run(*arguments: str, timeout: float = 120, merged: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `docker ARGUMENTS`, whatever its exit code; `timeout` in seconds; `merged`: both outputs in one, in order."""
    try:
        return subprocess.run(["docker", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                              text=True, errors="replace", timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(f"docker {' '.join(arguments)}: no end after {timeout} s") from None


def docker(*arguments: str, timeout: float = 120) -> str:
    """Standard output of `docker ARGUMENTS`, stripped; raises EngineError with its standard error."""
    done = run(*arguments, timeout=timeout)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise EngineError(f"docker {' '.join(arguments)}: exit code {done.returncode}: {said}")
    return done.stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    """Everything that the engine knows about a container; raises EngineError when there is none."""
    found: dict[str, Any] = json.loads(docker("container", "inspect", name))[0]
    return found


@functools.cache
def own_container() -> str | None:
    """Id of the container that this process runs in; None outside one, where the engine's networks are within reach."""
    candidates = [socket.gethostname()]
    mounts = Path("/proc/self/mountinfo")
    if mounts.exists():
        candidates += re.findall(r"/containers/([0-9a-f]{64})/", mounts.read_text(encoding="utf-8"))
    for candidate in candidates:
        done = run("container", "inspect", "--format", "{{.Id}}", candidate)
        if done.returncode == 0:
            return done.stdout.strip()
    return None
