"""What single values cannot tell: settings that exclude, need or contradict one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

EXCLUSIVE = ("ETCD_HOST", "ETCD_HOSTS", "ETCD_URL", "ETCD_PROXY", "ETCD_DISCOVERY_DOMAIN")
PAIRS = (
    ("ETCD_CERT", "ETCD_KEY"),
    ("SSL_CERTIFICATE", "SSL_PRIVATE_KEY"),
    ("SSL_CERTIFICATE", "SSL_CA"),
    ("SSL_RESTAPI_CERTIFICATE", "SSL_RESTAPI_PRIVATE_KEY"),
    ("SSL_RESTAPI_CERTIFICATE", "SSL_RESTAPI_CA"),
)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the configuration: the setting, what was given (masked), what is expected, the fix."""

    name: str
    given: str
    expected: str
    fix: str

    def __str__(self) -> str:
        given = f" is {self.given}" if self.given else ""
        return f"{self.name}{given}; expected {self.expected}. Fix: {self.fix}"


def _etcd_together(values: Mapping[str, Any], alone: bool) -> Iterator[Problem]:
    several = [name for name in EXCLUSIVE if values[name] is not None]
    if len(several) > 1:
        yield Problem(" and ".join(several), "", "only one way to find etcd", f"remove all but {several[0]}")
    if alone:
        for name in ("ETCD_PROTOCOL", "ETCD_CACERT", "ETCD_CERT", "ETCD_USERNAME", "ETCD_PASSWORD"):
            if values[name] is not None:
                yield Problem(name, "given", "an etcd that it is for",
                              f"give {EXCLUSIVE[0]} or another way to find etcd, or remove {name}")
    urls = [values[name] for name in ("ETCD_URL", "ETCD_PROXY") if values[name]]
    spoken = {*filter(None, [values["ETCD_PROTOCOL"]]), *(url.partition(":")[0] for url in urls)}
    if len(spoken) > 1:
        yield Problem("ETCD_PROTOCOL", repr(values["ETCD_PROTOCOL"]), "what the URL of etcd says", "remove it")
    elif spoken == {"http"}:
        for name in ("ETCD_CACERT", "ETCD_CERT"):
            if values[name] is not None:
                yield Problem(name, "given", "an etcd that speaks https", f"use https, or remove {name}")


def together(values: Mapping[str, Any], alone: bool) -> Iterator[Problem]:
    """What single values cannot tell: settings that exclude or need one another."""
    yield from _etcd_together(values, alone)
    for one, other in PAIRS:
        if (values[one] is None) != (values[other] is None):
            there, lacking = (one, other) if values[one] is not None else (other, one)
            yield Problem(lacking, "not given", f"a value, because {there} is given",
                          f"give both {there} and {lacking}, or neither")
    if not alone and values["SCOPE"] is None:
        yield Problem("SCOPE", "not given", "the name of the cluster, because an etcd is given",
                      "set SCOPE to the same name on all members")
    if not alone and values["CLUSTER_SECRET"] is None:
        yield Problem("CLUSTER_SECRET", "not given", "the secret that all members share, because an etcd is given",
                      "make one (openssl rand -hex 32) and give it to all members, best as CLUSTER_SECRET_FILE")
    for what, names in (("roles", ("PGUSER_SUPERUSER", "PGUSER_STANDBY", "PGUSER_ADMIN")),
                        ("ports", ("PGPORT", "APIPORT", "ETCD_LOCAL_PORT"))):
        given = [values[name] for name in names if values[name] is not None]
        if len(set(given)) < len(given):
            yield Problem(", ".join(names), repr(given), f"three different {what}", "give each its own")
