"""haproxy.cfg as a pure function of what was found.

Health: /health of etcd answers only while the member follows a leader, so a member that is cut from its peers is left
alone too. `on-marked-down shutdown-sessions` is the point of the exercise: a watch on a dead member ends at once
instead of after minutes of silence.

Only health checks mark a member down. A failed connection must not (`observe layer4`, `on-error mark-down`): the
session that met it would be neither sent on to another member nor closed, and its client hang until its own timeout.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.proxy.discover import Server


@dataclass(frozen=True)
class Spec:
    """`listen` a port on loopback; `trusted` and `own`: authority and certificate of the local side; `authority`,
    `certificate`: those towards etcd (None: the system's authorities, no client certificate)."""

    listen: int
    trusted: str
    own: str
    system_authorities: str
    authority: str | None
    certificate: str | None


def _server(index: int, server: Server, protocol: str, spec: Spec) -> str:
    address = f"[{server.address}]" if ":" in server.address else server.address
    words = [f"    server etcd{index} {address}:{server.port} check"]
    if protocol == "https":
        words.append(f"ssl verify required ca-file {spec.authority or spec.system_authorities}")
        if server.name:
            words.append(f"sni str({server.name}) verifyhost {server.name} check-sni {server.name}")
        if spec.certificate:
            words.append(f"crt {spec.certificate}")
    return " ".join(words)


def render(spec: Spec, protocol: str, servers: list[Server]) -> str:
    """The whole configuration file. Times: a silent member is left after at most 0.5 + 2 x 0.5 s."""
    lines = f"""\
global
    maxconn 512
    nbthread 1
    hard-stop-after 2s
    ssl-load-extra-del-ext
    ssl-load-extra-files key
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-default-server-options ssl-min-ver TLSv1.2

defaults
    mode tcp
    retries 3
    option redispatch 1
    option srvtcpka
    timeout connect 500ms
    timeout check 500ms
    timeout queue 1s
    timeout client 24h
    timeout server 24h

listen etcd
    bind 127.0.0.1:{spec.listen} ssl crt {spec.own} ca-file {spec.trusted} verify required
    balance roundrobin
    option httpchk
    http-check send meth GET uri /health ver HTTP/1.1 hdr Host etcd
    http-check expect rstring '"health": *"?true'
    default-server inter 500ms fastinter 250ms downinter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
""".splitlines()
    return "\n".join([*lines, *(_server(i, server, protocol, spec) for i, server in enumerate(servers, 1))]) + "\n"
