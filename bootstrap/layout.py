"""Every path of the appliance, from one root: `/` in the container, any folder with `--root`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bootstrap.settings import Settings


@dataclass(frozen=True)
class Layout:
    """Paths; what is under `volume` survives, what is under `run` is made anew at each boot."""

    root: Path
    volume: Path
    pgroot: Path
    pgdata: Path
    run: Path
    sockets: Path
    archive_environment: Path

    @property
    def credentials(self) -> Path:
        """Where a member that stands alone keeps its secret."""
        return self.pgroot / "credentials" / "cluster-secret"

    @property
    def etcd_data(self) -> Path:
        return self.pgroot / "etcd"

    @property
    def patroni(self) -> Path:
        return self.run / "patroni.yml"

    @property
    def steward(self) -> Path:
        return self.run / "steward.json"

    @property
    def supervisor(self) -> Path:
        return self.run / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def etcd(self) -> Path:
        return self.run / "etcd.yml"

    @property
    def haproxy(self) -> Path:
        return self.run / "haproxy.cfg"

    @property
    def last_words(self) -> Path:
        """Folder in which a program that refuses to go on leaves its reason for the sentinel."""
        return self.run / "last-words"

    @property
    def log(self) -> Path:
        """The last lines of this member's log, for `spilo logs`."""
        return self.run / "log"

    @property
    def archive_socket(self) -> Path:
        """Where the resident archiver of this cluster's archive listens."""
        return self.run / "archive.sock"

    @property
    def source_socket(self) -> Path:
        """Where the one of another cluster's archive does, which is only read."""
        return self.run / "source.sock"

    @property
    def authority(self) -> Path:
        """The cluster's certificate authority; its key lies beside it."""
        return self.run / "tls" / "authority.crt"

    @property
    def trusted(self) -> Path:
        """All authorities that this member trusts for its cluster: the cluster's own and those given."""
        return self.run / "tls" / "trusted.crt"

    def certificate(self, name: str) -> Path:
        """Certificate `name`; its key lies beside it with the suffix .key."""
        return self.run / "tls" / f"{name}.crt"


def make(settings: Settings, root: str = "/") -> Layout:
    """The layout under `root` (an absolute path)."""
    base = Path(root)

    def under(path: str) -> Path:
        return base / path.lstrip("/")

    return Layout(
        root=base,
        volume=under(settings["PGHOME"]) / "pgdata",
        pgroot=under(settings.pgroot),
        pgdata=under(settings.pgdata),
        run=under(settings["RW_DIR"]) / "spilo",
        sockets=under(settings["RW_DIR"]) / "postgresql",
        archive_environment=under(settings["WALE_ENV_DIR"] or settings["RW_DIR"] + "/etc/wal-e.d/env"),
    )
