"""Keeps HAProxy running over the etcd members that DNS names, and reloads it when they, or certificates, change."""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from runtime.log import Log
from runtime.proxy.discover import Server, Unresolved, find
from runtime.proxy.haproxy import Spec, render
from runtime.trouble import Exit, Trouble, run

LOG = Log("proxy")
LOOK_AGAIN = 2.0  # seconds between two looks at DNS and certificates
PR_SET_PDEATHSIG = 1  # prctl(2)
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies: else it would leave a HAProxy behind that shares the port and
    serves a view of the past. That survives exec, and thus HAProxy's reloads."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Proxy:
    """HAProxy's master process and what it was last told."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.run = Path(given["run"])
        self.config, self.master = self.run / "haproxy.cfg", self.run / "haproxy.sock"
        self.known: tuple[str, list[Server]] | None = None
        self.loaded: tuple[str, tuple[float, ...]] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.stopping = threading.Event()
        self.awake = threading.Event()  # no reason left to wait: we are to stop, or HAProxy may have ended

    def spec(self) -> Spec:
        """The specification, with certificate and key for etcd joined beside each other, as HAProxy wants them."""
        certificate = None
        if self.given["certificate"]:
            try:
                pem = Path(self.given["certificate"]).read_bytes() + b"\n" + Path(self.given["key"]).read_bytes()
            except OSError as error:
                raise Trouble(Exit.SETTINGS, "the client certificate for etcd cannot be read",
                              f"{error.filename}: {error.strerror}",
                              "mount the files that ETCD_CERT and ETCD_KEY name, readable for the container's user"
                              ) from None
            target = self.run / "tls" / "etcd-client.pem"
            target.touch(0o600)
            target.write_bytes(pem)
            certificate = str(target)
        return Spec(self.given["listen"], self.given["trusted"], self.given["own"], SYSTEM_AUTHORITIES,
                    self.given["authority"], certificate)

    def look(self) -> None:
        """Ask DNS; keep what is known when it does not answer."""
        try:
            found = find(self.given["domain"], [(host, port) for host, port in self.given["endpoints"]],
                         self.given["protocol"])
        except Unresolved as error:
            if self.known is None:
                LOG.warning("no etcd member found yet, looking again", asked=error)
            return
        if found != self.known:
            LOG.info("etcd members", protocol=found[0],
                     servers=",".join(f"{one.address}:{one.port}" for one in found[1]),
                     names=",".join(sorted({one.name for one in found[1] if one.name})) or "-")
            self.known = found

    def apply(self) -> None:
        """Start HAProxy, or reload it if the configuration or a certificate is not what it has loaded."""
        if self.known is None:
            return
        text = render(self.spec(), *self.known)
        files = [self.given["own"], self.given["certificate"], self.given["authority"]]
        state = (text, tuple(Path(name).stat().st_mtime for name in files if name))
        if state == self.loaded:
            return
        self.config.write_text(text, encoding="utf-8")
        if self.process is None:
            arguments = ["haproxy", "-W", "-db", "-q", "-S", f"{self.master},mode,600", "-f", str(self.config)]
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL,
                                            preexec_fn=end_with_parent)  # noqa: PLW1509 (there are no threads)
        elif not self.reload():
            return
        self.loaded = state

    def reload(self) -> bool:
        """Have HAProxy load its configuration; False if it has not, and is to be asked again.

        By its socket, which answers once it is done: a signal is lost on a master that is still about to start.
        """
        said = b""
        try:
            with socket.socket(socket.AF_UNIX) as master:
                master.settimeout(5)
                master.connect(str(self.master))
                master.sendall(b"reload\n")
                while part := master.recv(4096):
                    said += part
        except OSError as error:
            said = str(error).encode()
        if not said.startswith(b"Success=1"):
            LOG.warning("HAProxy has not loaded its configuration, trying again", said=said.decode(errors="replace"))
            return False
        return True

    def stop(self, *_: object) -> None:
        """Asked to end, by a signal."""
        self.stopping.set()
        self.awake.set()

    def serve(self) -> int:
        """Until told to stop, or until HAProxy ends."""
        signal.signal(signal.SIGTERM, self.stop)
        # At once, so that a HAProxy that cannot start counts as a program that does not start.
        signal.signal(signal.SIGCHLD, lambda *_: self.awake.set())
        while not self.stopping.is_set():
            self.look()
            self.apply()
            self.awake.wait(LOOK_AGAIN if self.process else LOOK_AGAIN / 4)
            self.awake.clear()
            if self.process and self.process.poll() is not None:
                said = subprocess.run(["haproxy", "-c", "-f", str(self.config)], capture_output=True, text=True,
                                      check=False)
                raise Trouble(Exit.RETRY, "HAProxy ended",
                              f"exit code {self.process.returncode}; its view of its configuration:\n{said.stderr}")
        if self.process:
            self.process.terminate()
            self.process.wait(5)
        return Exit.OK


def main() -> int:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return run(Proxy(spec).serve, LOG, Path(spec["run"]) / "last-words" / "proxy")


if __name__ == "__main__":
    sys.exit(main())
