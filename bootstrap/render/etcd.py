"""The etcd of a member: its own one when it stands alone, else the specification of the local proxy.

Either way every program of the node finds etcd at https://127.0.0.1:ETCD_LOCAL_PORT, and needs the cluster's client
certificate there, so that with host networking no other user of the machine gets in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from bootstrap.kinds import endpoint

if TYPE_CHECKING:
    from bootstrap.plan import Node


def embedded(node: Node) -> bytes:
    """Configuration file of the single-member etcd (keys as in etcd's own sample, flags without dashes)."""
    layout = node.layout
    url = f"https://127.0.0.1:{node.settings['ETCD_LOCAL_PORT']}"
    certificate = layout.certificate("node")
    # The peer port is never used by a cluster of one; etcd insists on one, a unix socket keeps it off the network.
    peer = "unix://localhost:0"
    return yaml.safe_dump({
        "name": "alone",
        "data-dir": str(layout.etcd_data),
        "listen-client-urls": url,
        "advertise-client-urls": url,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"alone={peer}",
        "initial-cluster-state": "new",
        "client-transport-security": {
            "cert-file": str(certificate),
            "key-file": str(certificate.with_suffix(".key")),
            "trusted-ca-file": str(layout.authority),
            "client-cert-auth": True,
        },
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "10m",
        "quota-backend-bytes": 256 << 20,
        "logger": "zap",
        "log-level": "warn",
        "log-outputs": ["stdout"],
    }, sort_keys=False).encode()


def _protocol(node: Node) -> str | None:
    settings = node.settings
    url = settings["ETCD_URL"] or settings["ETCD_PROXY"]
    if settings["ETCD_PROTOCOL"]:
        return str(settings["ETCD_PROTOCOL"])
    if url:
        return str(urlsplit(url).scheme)
    if settings["ETCD_CACERT"] or settings["ETCD_CERT"]:
        return "https"
    return None if settings["ETCD_DISCOVERY_DOMAIN"] else "http"


def proxy_spec(node: Node) -> dict[str, Any]:
    """What the proxy is to reach and how; runtime/proxy documents the keys."""
    settings, layout = node.settings, node.layout
    url = settings["ETCD_URL"] or settings["ETCD_PROXY"]
    single = settings["ETCD_HOST"] or (endpoint(url) if url else None)
    return {
        "listen": settings["ETCD_LOCAL_PORT"],
        "domain": settings["ETCD_DISCOVERY_DOMAIN"],
        "endpoints": [[one.host, one.port] for one in (settings["ETCD_HOSTS"] or ((single,) if single else ()))],
        "protocol": _protocol(node),
        "authority": settings["ETCD_CACERT"],
        "certificate": settings["ETCD_CERT"],
        "key": settings["ETCD_KEY"],
        "trusted": str(layout.authority),
        "own": str(layout.certificate("node")),
        "run": str(layout.run),
    }
