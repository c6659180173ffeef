"""The steward of a member: keeps true while running what the boot can only make true once.

certificates  issued anew before they end, given ones copied again when their file changes
roles         the passwords and rights that the environment says, on the primary
dynamic       the cluster-wide part of Patroni's configuration in etcd, on the primary
holders       which members have data, on the primary
"""

from __future__ import annotations

from runtime.tool import tool


def command(spec: str) -> tuple[str, ...]:
    """Command line of the steward; `spec` is the path of steward.json."""
    return tool("runtime.steward", spec)
