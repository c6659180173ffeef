"""Child processes and whole members for the component layer: started, waited for, stopped and killed in one way.

Nothing here sleeps for a fixed time: every wait has a condition and a deadline, and fails with what it waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]
import psycopg2
import psycopg2.extensions
import yaml

from runtime import spec
from runtime.api import Api, Unanswered

T = TypeVar("T")
POLL = 0.05  # seconds
SECRET = "component-layer-secret-0123456789"
_ports = itertools.count(15000)  # below the range from which the kernel takes ports for outgoing connections
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def eventually(condition: Callable[[], T | None], seconds: float, what: str) -> T:
    """The first true result of `condition`; AssertionError with `what` when there was none before the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last result: {result!r}")
        time.sleep(POLL)


def port() -> int:
    """A TCP port that nobody listens on and that is given out once."""
    for number in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", number))
            return number
    raise AssertionError("no port left")


def folder() -> Path:
    """A new folder with a short name, because the name of a unix socket has at most 107 bytes."""
    return Path(tempfile.mkdtemp(prefix="c-"))


def adopt() -> None:
    """Make this process the parent of orphans below it, as PID 1 is in a container. It survives exec, not fork."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Process:
    """A program with its log in a file. `started` holds every process of the running test, for its report."""

    started: list[Process] = []  # noqa: RUF012 (meant to be shared)

    def __init__(self, name: str, command: list[str], place: Path, environ: Mapping[str, str] | None = None) -> None:
        self.name, self.command, self.environ = name, command, environ
        self.log = place / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        Process.started.append(self)
        environ = dict(os.environ) if self.environ is None else dict(self.environ)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=adopt,  # noqa: PLW1509 (no threads here)
            )

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def text(self) -> str:
        """Everything that it has logged."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """Its exit code."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} has not ended within {seconds:g} s") from None

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM, and its exit code."""
        if self.running:
            self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def below(self) -> list[psutil.Process]:
        """Every process below this one."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.pid).children(recursive=True))
        return []

    def kill(self) -> None:
        """SIGKILL for it and everything below, as when a container is killed. First all are stopped, so that none
        sees another one go."""
        if self.process is None:
            return
        found: dict[int, psutil.Process] = {}
        if self.running:
            self.signal(signal.SIGSTOP)
            while more := [one for one in self.below() if one.pid not in found]:
                for one in more:
                    found[one.pid] = one
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.suspend()
            for pid in (*found, self.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        for pid in found:  # they are ours now; a zombie would look to PostgreSQL like a running postmaster
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


class Node(Process):
    """A member: `spilo-boot --root`, with every address on loopback."""

    def __init__(self, name: str, place: Path, settings: Mapping[str, str] | None = None) -> None:
        self.root = place / name
        self.port, self.api_port, self.etcd_port = port(), port(), port()
        self.settings = dict(settings or {})
        super().__init__(name, ["spilo-boot", "--root", str(self.root)], place)

    def variables(self) -> dict[str, str]:
        """The whole environment of the boot. Memory is kept small: many members share this machine."""
        small = {
            "postgresql": {"parameters": {"shared_buffers": "64MB", "max_wal_size": "512MB", "min_wal_size": "80MB"}}
        }
        given = yaml.safe_load(self.settings.get("SPILO_CONFIGURATION", "")) or {}
        given["postgresql"] = {**given.get("postgresql", {})}
        given["postgresql"]["parameters"] = small["postgresql"]["parameters"] | given["postgresql"].get(
            "parameters", {}
        )
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "MEMBER_NAME": self.name,
            "PGPORT": str(self.port),
            "APIPORT": str(self.api_port),
            "ETCD_LOCAL_PORT": str(self.etcd_port),
            "PG_CONNECT_ADDRESS": f"127.0.0.1:{self.port}",
            "RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{self.api_port}",
            **self.settings,
            "SPILO_CONFIGURATION": yaml.safe_dump(given, allow_unicode=True),
        }

    def start(self, **changed: str) -> None:
        """Boot, with settings that are different from now on."""
        self.settings |= changed
        self.environ = self.variables()
        super().start()

    @property
    def run(self) -> Path:
        return self.root / "run" / "spilo"

    @property
    def data(self) -> Path:
        return self.root / "home" / "postgres" / "pgdata" / "pgroot" / "data"

    @property
    def trusted(self) -> str:
        return str(self.run / "tls" / "trusted.crt")

    def spec(self) -> spec.Spec:
        return spec.load(str(self.run / "steward.json"))

    def api(self) -> Api:
        return Api(self.spec())

    def role(self) -> str | None:
        """`primary`, `replica`, or None while it is neither."""
        try:
            return self.api().role() if self.running else None
        except (Unanswered, OSError, ValueError):
            return None

    def until(self, role: str, seconds: float = 30) -> None:
        """Wait until this member has the role. Fails at once when its process has ended."""

        def there() -> bool:
            assert self.running, f"{self.name} has ended instead of becoming {role}"
            return self.role() == role

        eventually(there, seconds, f"{self.name} is {role}")

    def connect(self, kind: str = "superuser", **options: Any) -> psycopg2.extensions.connection:
        """A connection over TCP with TLS, as one of the three roles, with its password as the environment says."""
        role = self.spec().roles[kind]
        values = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": role.name,
            "password": role.password,
            "dbname": "postgres",
            "sslmode": "verify-full",
            "sslrootcert": self.trusted,
            "connect_timeout": 5,
            **options,
        }
        connection = psycopg2.connect(**values)
        connection.autocommit = True
        return connection

    def sql(self, query: str, *values: Any, kind: str = "superuser", **options: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement; nothing for a statement without rows."""
        connection = self.connect(kind, **options)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values or None)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def value(self, query: str, *values: Any, **options: Any) -> Any:
        """The one value that a statement gives."""
        return self.sql(query, *values, **options)[0][0]

    def count(self, name: str) -> int:
        """How many processes below this member have this name."""
        found = 0
        for one in self.below():
            with contextlib.suppress(psutil.NoSuchProcess):
                found += one.name() == name
        return found

    def program(self, word: str) -> psutil.Process | None:
        """The process below this member with `word` as, or at the end of, one of its arguments."""
        for one in self.below():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if any(part == word or part.endswith(f"/{word}") for part in one.cmdline()):
                    return one
        return None

    def control(self, field: str) -> str:
        """A field of pg_controldata."""
        said = subprocess.run(
            ["pg_controldata", str(self.data)], capture_output=True, text=True, check=True, env=self.environ
        ).stdout
        return next(line.partition(":")[2].strip() for line in said.splitlines() if line.startswith(field))


@contextlib.contextmanager
def running(*processes: Process) -> Iterator[None]:
    """Kill them all at the end, whatever happened."""
    try:
        yield
    finally:
        for one in processes:
            one.kill()
