"""A proxy in front of an S3 server that misbehaves when told to: as a network does, as a busy store does.

    proxy = FaultProxy(server)                      everything passes
    proxy.on(error(), method="PUT", key="*wal_005/*", times=3)
    proxy.on(cut(1000), method="GET")               until proxy.heal()
    proxy.refuse() ... proxy.accept()               nobody listens

It speaks plain http, and changes nothing of what it passes (the signature covers the Host header, and neither server
minds to be called by another name).
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import socket
import struct
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.kit.s3 import Endpoint

BLOCK = 1 << 16
ANSWER = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}, as told</Message></Error>'


@dataclass(frozen=True)
class Fault:
    """What happens to a request, see the functions below."""

    how: str
    seconds: float = 0.0
    after: int = 0
    status: int = 0
    code: str = ""


def error(status: int = 503, code: str = "SlowDown") -> Fault:
    """The store answers with an error."""
    return Fault("error", status=status, code=code)


def delay(seconds: float) -> Fault:
    """The request is passed on later."""
    return Fault("delay", seconds=seconds)


def cut(after: int) -> Fault:
    """The answer's body ends after so many bytes, as if it was all."""
    return Fault("cut", after=after)


def reset(after: int = 0) -> Fault:
    """The connection is reset after so many bytes of the request's body; the store sees nothing."""
    return Fault("reset", after=after)


def lose() -> Fault:
    """The store does what was asked, the connection is reset in place of the answer."""
    return Fault("lose")


def hang() -> Fault:
    """The request is taken and never answered; `heal` closes the connection."""
    return Fault("hang")


@dataclass
class Request:
    """A request that came: `key` is BUCKET/KEY, `fault` how it failed, `status` the answer's (0: none)."""

    method: str
    key: str
    query: str
    fault: str = ""
    status: int = 0


@dataclass
class Rule:
    """A fault, and the requests that meet it: patterns of method, key and query."""

    fault: Fault
    method: str
    key: str
    query: str
    left: float

    def matches(self, request: Request) -> bool:
        pairs = ((request.method, self.method), (request.key, self.key), (request.query, self.query))
        return self.left > 0 and all(fnmatch.fnmatchcase(value, pattern) for value, pattern in pairs)


@dataclass
class State:
    """What the handlers of all connections share."""

    upstream: tuple[str, int]
    rules: list[Rule] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: set[socket.socket] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    healed: threading.Event = field(default_factory=threading.Event)  # ends what waits; a new one after each heal

    def take(self, request: Request) -> Fault | None:
        """Count the request; the fault that it meets."""
        with self.lock:
            self.requests.append(request)
            for rule in self.rules:
                if rule.matches(request):
                    rule.left -= 1
                    request.fault = rule.fault.how
                    return rule.fault
        return None


class Handler(BaseHTTPRequestHandler):
    """One connection of a client, with one of its own to the server."""

    protocol_version = "HTTP/1.1"
    state: State

    def setup(self) -> None:
        super().setup()
        self.onward = http.client.HTTPConnection(*self.state.upstream, timeout=60)
        with self.state.lock:
            self.state.connections.add(self.connection)

    def finish(self) -> None:
        with self.state.lock:
            self.state.connections.discard(self.connection)
        self.onward.close()
        super().finish()

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def handle_expect_100(self) -> bool:
        return True  # said when the body is read, which some faults never do

    def serve(self) -> None:
        path, _, query = self.path.partition("?")
        self.request_seen = Request(self.command, urllib.parse.unquote(path).lstrip("/"), query)
        fault = self.state.take(self.request_seen)
        try:
            if fault is None:
                self.relay()
            else:
                getattr(self, f"fault_{fault.how}")(fault)
        except (OSError, http.client.HTTPException):  # the server is away, or the client
            self.reset()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

    def body(self) -> Iterator[bytes]:
        """The request's body as it comes, chunks with their framing."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while True:
                head = self.rfile.readline()
                size = int(head.partition(b";")[0], 16)
                yield head + self.rfile.read(size) + (self.rfile.readline() if size else b"")
                if not size:
                    break
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                yield line
            yield b"\r\n"
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            block = self.rfile.read1(min(left, BLOCK))
            if not block:
                raise ConnectionError("the client broke off")
            left -= len(block)
            yield block

    def ask(self) -> http.client.HTTPResponse:
        """The server's answer to this request."""
        self.onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "expect":
                self.onward.putheader(name, value)
        self.onward.endheaders()
        for block in self.body():
            self.onward.send(block)
        return self.onward.getresponse()

    def relay(self, most: int | None = None) -> None:
        """Pass the request on and its answer back, of its body at `most` so many bytes."""
        answer = self.ask()
        self.request_seen.status = answer.status
        whole = answer.read() if answer.chunked else None
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() != "transfer-encoding":
                self.send_header(name, value)
        if whole is not None:
            self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        sent = 0
        for block in [whole] if whole is not None else iter(lambda: answer.read(BLOCK), b""):
            some = block if most is None else block[: most - sent]
            self.wfile.write(some)
            sent += len(some)
            if sent == most:
                self.close_connection = True
                return

    def reset(self) -> None:
        """RST in place of FIN."""
        with contextlib.suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.rfile.close()
        self.close_connection = True

    def fault_error(self, fault: Fault) -> None:
        for _ in self.body():
            pass
        text = ANSWER.format(code=fault.code).encode()
        self.request_seen.status = fault.status
        self.send_response_only(fault.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def fault_delay(self, fault: Fault) -> None:
        self.state.healed.wait(fault.seconds)
        self.relay()

    def fault_cut(self, fault: Fault) -> None:
        self.relay(fault.after)

    def fault_reset(self, fault: Fault) -> None:
        seen = 0
        for block in self.body():
            seen += len(block)
            if seen >= fault.after:
                break
        self.reset()

    def fault_lose(self, fault: Fault) -> None:
        self.request_seen.status = self.ask().status
        self.reset()

    def fault_hang(self, fault: Fault) -> None:
        self.state.healed.wait()
        self.close_connection = True


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass


class FaultProxy(Endpoint):
    """The proxy, running from the start; clients reach it at `host` (it listens on all addresses if that is not
    loopback). `stop` at the end, or use it as a context manager."""

    def __init__(self, server: Endpoint, host: str = "127.0.0.1") -> None:
        split = urllib.parse.urlsplit(server.url)
        assert split.scheme == "http" and split.hostname and split.port, f"not in front of {server.url}"
        self.state = State((split.hostname, split.port))
        self.handler = type("Bound", (Handler,), {"state": self.state})
        self.bind = (host if host == "127.0.0.1" else "", 0)
        self.listener: Listener | None = None
        self.accept()
        super().__init__(f"http://{host}:{self.port}", server.key)

    @property
    def port(self) -> int:
        return self.bind[1]

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in order."""
        with self.state.lock:
            return list(self.state.requests)

    def count(self, method: str = "*", key: str = "*", query: str = "*", fault: str = "*") -> int:
        """How many requests there were of a kind; `fault` is how they failed, "" for those that passed."""
        rule = Rule(Fault(""), method, key, query, 1)
        return sum(1 for one in self.requests if rule.matches(one) and fnmatch.fnmatchcase(one.fault, fault))

    def on(self, fault: Fault, method: str = "*", key: str = "*", query: str = "*", times: float = float("inf")) -> None:
        """From now on the next `times` requests that match meet this fault; rules that were given earlier come first."""
        with self.state.lock:
            self.state.rules.append(Rule(fault, method, key, query, times))

    def heal(self) -> None:
        """Everything passes again; what hangs is closed, what waits goes on. Accept connections again."""
        with self.state.lock:
            self.state.rules.clear()
        waiting, self.state.healed = self.state.healed, threading.Event()
        waiting.set()
        self.accept()

    def accept(self) -> None:
        """Listen (again, at the same port)."""
        if self.listener is None:
            self.listener = Listener(self.bind, self.handler)
            self.bind = (self.bind[0], int(self.listener.server_address[1]))
            threading.Thread(target=self.listener.serve_forever, args=(0.05,), daemon=True).start()

    def refuse(self) -> None:
        """Nobody listens any more, and the connections that there are end."""
        if self.listener is not None:
            self.listener.shutdown()
            self.listener.server_close()
            self.listener = None
        with self.state.lock:
            for one in self.state.connections:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """The end of it."""
        with self.state.lock:
            self.state.rules.clear()
        self.state.healed.set()
        self.refuse()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
