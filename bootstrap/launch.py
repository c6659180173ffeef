"""PID 1: starts supervisord in a clean environment, passes on signals, reaps orphans, and tells the truth at the end.

The boot replaces itself (exec) with this module, so that neither its memory nor the secrets in its environment stay.
Standard library only, for a quick start and little memory.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from runtime.log import Log
from runtime.tool import tool
from runtime.trouble import Exit

LOG = Log("boot")
KEEP = ("PATH", "LANG", "TZ", "HOME")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
RING = 4 << 20  # bytes of log kept for `spilo logs`, in two files


def environment(environ: dict[str, str], home: str) -> dict[str, str]:
    """The environment of everything that runs: an allow-list, so that no secret is in it."""
    clean = {name: environ[name] for name in KEEP if name in environ}
    return {**clean, "HOME": home, "LANG": clean.get("LANG", "C.UTF-8"), "TZ": "UTC", "PYTHONUNBUFFERED": "1"}


def command(run: Path, pgdata: Path) -> tuple[str, ...]:
    """Command line of this module; `run` is the folder of generated files."""
    return tool("bootstrap.launch", str(run), str(pgdata))


class Ring:
    """The last lines of the log, in `current` and `previous`, for people inside the container."""

    def __init__(self, folder: Path) -> None:
        self.current, self.previous = folder / "current", folder / "previous"
        folder.mkdir(mode=0o700, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Open `current`, to go on with what is in it."""
        self.file = open(self.current, "ab", buffering=0)  # noqa: SIM115 (as long as the process lives)
        os.chmod(self.current, 0o600)

    def write(self, data: bytes) -> None:
        try:
            self.file.write(data)
            if self.file.tell() > RING // 2:
                self.file.close()
                self.current.replace(self.previous)
                self.start()
        except OSError:
            pass  # a full tmpfs must not stop the log of the container itself


class Init:
    """The parent of supervisord, and of every orphan in the container."""

    def __init__(self, run: Path, pgdata: Path) -> None:
        self.run, self.pgdata = run, pgdata
        self.status: int | None = None
        self.asked = 0

    def start(self) -> int:
        """Start supervisord with its output in a pipe; returns the pipe's reading end."""
        reading, writing = os.pipe()
        config = str(self.run / "supervisord.conf")
        (self.run / "supervisor.sock").unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for number in SIGNALS:
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, set())
                os.setsid()
                os.chdir(self.run)  # the embedded etcd keeps a socket in its current folder, which may be read-only
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(writing, 1)
                os.dup2(writing, 2)
                os.umask(0o077)
                os.execv(sys.executable, [sys.executable, "-I", "-m", "supervisor.supervisord", "-c", config])
            finally:
                os._exit(127)
        os.close(writing)
        os.set_blocking(reading, False)
        return reading

    def nudge(self) -> bool:
        """Wake supervisord, which otherwise acts once a second only. True once it listens."""
        try:
            with socket.socket(socket.AF_UNIX) as knock:
                knock.connect(str(self.run / "supervisor.sock"))
            return True
        except OSError:
            return False

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Docker's SIGTERM, a person's Ctrl-C, or the sentinel: end everything in order."""
        self.asked = self.asked or number
        if self.status is None:
            os.kill(self.pid, signal.SIGTERM)

    def reap(self) -> None:
        """Collect every child that has ended, ours or adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)

    def serve(self) -> int:
        """Until supervisord has ended; returns the exit code of the container."""
        ring = Ring(self.run / "log")
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            signal.signal(number, self.on_signal)
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        pipe = self.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        selector = selectors.DefaultSelector()
        selector.register(pipe, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        listening = False
        while self.status is None:
            ready = selector.select(0.05 if self.asked else None if listening else 0.005)
            for key, _ in ready:
                if key.fd == wake_read:
                    os.read(wake_read, 4096)
                else:
                    self.pump(pipe, ring)
            self.reap()
            if self.status is None and (self.asked or not listening):
                listening = self.nudge() or listening
        self.pump(pipe, ring)
        self.stop_postgres()
        self.pump(pipe, ring)
        return self.verdict()

    def pump(self, pipe: int, ring: Ring) -> None:
        """Pass on everything that has been logged so far."""
        while True:
            try:
                data = os.read(pipe, 65536)
            except BlockingIOError:
                return
            if not data:
                return
            ring.write(data)
            view = memoryview(data)
            try:
                while view:
                    view = view[os.write(1, view):]
            except OSError:
                pass  # nobody reads any more; that is no reason to take PostgreSQL down

    def stop_postgres(self) -> None:
        """A PostgreSQL that outlived Patroni is asked to shut down cleanly before the container ends."""
        try:
            pid = int((self.pgdata / "postmaster.pid").read_text(encoding="ascii").split()[0])
            if os.readlink(f"/proc/{pid}/cwd") != str(self.pgdata.resolve()):
                return  # a stale file; the number belongs to somebody else now
            os.kill(pid, signal.SIGINT)
        except (OSError, ValueError, IndexError):
            return
        LOG.warning("PostgreSQL outlived Patroni, waiting for its fast shutdown", pid=pid)
        while True:
            self.reap()
            try:
                os.kill(pid, 0)
            except OSError:
                return
            time.sleep(0.05)

    def verdict(self) -> int:
        """0 after an orderly stop; PROGRAM, with the reason, when it was not asked for from outside."""
        try:
            reason = (self.run / "last-words" / "reason").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            reason = []
        if reason:
            for line in reason:
                LOG.error(line)
            return Exit.PROGRAM
        # Before supervisord handles signals it has started nothing, and simply ends of one.
        if self.asked and self.status in (0, -signal.SIGTERM):
            LOG.info("stopped")
            return Exit.OK
        LOG.error("supervisord ended by itself", status=self.status)
        return Exit.PROGRAM


def main() -> int:
    return Init(Path(sys.argv[1]), Path(sys.argv[2])).serve()


if __name__ == "__main__":
    sys.exit(main())
