"""Everything that a test makes in the engine: named, labelled, its logs kept when it fails, and removed at its end."""

from __future__ import annotations

import atexit
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tests.kit import engine
from tests.kit.engine import EngineError, docker

if TYPE_CHECKING:
    from tests.kit.node import Container

LABEL = "spilo.test"
LOGS = Path(__file__).resolve().parents[2] / "logs"
OPEN: list[World] = []


class Network:
    """A bridge with a /24 of its own. `internal`: without a way out, hence never a container's default route."""

    def __init__(self, name: str, prefix: str, internal: bool) -> None:
        self.name, self.prefix, self.internal = name, prefix, internal

    def address(self, host: int) -> str:
        """The address with this last byte."""
        return f"{self.prefix}.{host}"


class World:
    """A test's containers, networks and volumes. Use as a context manager, or call `close()`.

    `world.name("n1")` is unique in the engine; `world.volume("n1")` makes a volume of that name;
    `world.network("inner")` makes a network and joins the container that the tests run in to it.
    """

    def __init__(self) -> None:
        self.id = f"spilo-t{secrets.token_hex(3)}"
        self.containers: list[Container] = []
        self.networks: list[Network] = []
        self.volumes: list[str] = []
        self.kept: dict[str, str] = {}  # logs of containers that are gone
        OPEN.append(self)

    def name(self, short: str) -> str:
        return f"{self.id}-{short}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Arguments that mark an object as ours."""
        return "--label", f"{LABEL}={self.id}"

    def network(self, short: str, internal: bool = False) -> Network:
        """A new network with a free /24; the test's own container is joined to it (at .250)."""
        name = self.name(short)
        for _ in range(50):
            prefix = f"10.{100 + secrets.randbelow(100)}.{secrets.randbelow(250)}"
            options = ("--internal",) if internal else ()
            done = engine.run("network", "create", *self.labels, *options, "--subnet", f"{prefix}.0/24", name)
            if done.returncode == 0:
                break
            if "overlaps" not in done.stderr:
                raise EngineError(done.stderr.strip())
        else:
            raise EngineError("no free network")
        network = Network(name, prefix, internal)
        self.networks.append(network)
        runner = engine.own_container()
        if runner:
            docker("network", "connect", "--ip", network.address(250), name, runner)
        return network

    def volume(self, short: str) -> str:
        """A new, empty volume; its name."""
        name = self.name(short)
        docker("volume", "create", *self.labels, name)
        if name not in self.volumes:
            self.volumes.append(name)
        return name

    def drop_volume(self, name: str) -> None:
        """Lose a volume that no container uses."""
        docker("volume", "rm", "-f", name)
        self.volumes.remove(name)

    def shell(self, volume: str, script: str, image: str | None = None) -> str:
        """Output of a shell script, run as root in a throw-away container with the volume at /v; raises EngineError."""
        return docker("run", "--rm", "--no-healthcheck", *self.labels, "--network", "none", "--user", "0",
                      "-v", f"{volume}:/v", "-w", "/v", "--entrypoint", "sh", image or engine.IMAGE, "-ec", script)

    def run(self, *command: str, image: str | None = None) -> str:
        """Output of a command, run in a throw-away container of the image; raises EngineError when it fails."""
        return docker("run", "--rm", "--no-healthcheck", *self.labels, "--network", "none",
                      image or engine.IMAGE, *command)

    def fingerprint(self, volume: str) -> str:
        """Names, owners, modes and contents of everything on a volume, as one text to compare."""
        return self.shell(volume, "find . -printf '%p %y %m %U:%G\\n' | sort;"
                                  "find . -type f -print0 | sort -z | xargs -0 -r sha256sum")

    def keep_logs(self, test: str) -> Path:
        """Write every container's log (also of those that are gone) into logs/TEST/; the folder."""
        folder = LOGS / "".join(c if c.isalnum() or c in "._-" else "_" for c in test)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in self.kept.items():
            (folder / f"{name}.log").write_text(text, encoding="utf-8")
        for container in self.containers:
            if container.exists():
                (folder / f"{container.short}.log").write_text(container.logs(), encoding="utf-8")
        return folder

    def close(self) -> None:
        """Remove everything. Never raises: what cannot be removed is printed."""
        def attempt(*arguments: str) -> None:
            done = engine.run(*arguments)
            gone = any(text in done.stderr for text in ("No such", "not found", "is not connected"))
            if done.returncode and not gone:
                print(f"cleaning up: {done.stderr.strip()}")

        found = engine.run("ps", "-aq", "--filter", f"label={LABEL}={self.id}").stdout.split()
        if found:
            attempt("rm", "-fv", *found)
        runner = engine.own_container()
        for network in self.networks:
            if runner:
                attempt("network", "disconnect", "-f", network.name, runner)
            if "active endpoints" in engine.run("network", "rm", network.name).stderr:
                # The engine sometimes remembers a container that was cut off, healed, and is gone.
                for container in self.containers:
                    engine.run("network", "disconnect", "-f", network.name, container.name)
                attempt("network", "rm", network.name)
        left = engine.run("volume", "ls", "-q", "--filter", f"label={LABEL}={self.id}").stdout.split()
        if left:
            attempt("volume", "rm", "-f", *left)
        self.containers, self.networks, self.volumes = [], [], []
        if self in OPEN:
            OPEN.remove(self)

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


@atexit.register
def close_all() -> None:
    """The last resort: whatever a test left open."""
    for world in list(OPEN):
        world.close()
