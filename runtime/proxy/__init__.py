"""The local etcd proxy: finds the etcd members, keeps HAProxy in front of them, follows them when they move.

HAProxy because it checks its members' health and cuts the sessions to dead ones; docs/benchmarks.md has the numbers.
"""

from __future__ import annotations

from runtime.tool import tool


def command(spec: str) -> tuple[str, ...]:
    """Command line of the proxy; `spec` is the path of its JSON specification."""
    return tool("runtime.proxy", spec)
