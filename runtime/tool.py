"""How a tool of ours is called: the one place that knows the interpreter and its flags."""

from __future__ import annotations

import sys


def tool(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line of `module`. -I: no PYTHON* variables, no user packages, no current folder on the path."""
    return (sys.executable, "-I", "-m", module, *arguments)
