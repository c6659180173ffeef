"""What a row of THE TABLE is, and the rows of the settings of a member, its cluster and its roles.

bootstrap/storage.py has those of archives, clones and standby clusters; bootstrap/settings.py puts all together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bootstrap import kinds
from bootstrap.kinds import Kind

GROUPS = {
    "cluster": "Which cluster, which member",
    "etcd": "Where etcd is (none of these: the member stands alone, with an etcd of its own)",
    "secrets": "Secrets and roles",
    "tls": "Certificates from elsewhere (none of these: members issue their own, see `CLUSTER_SECRET`)",
    "behaviour": "How it behaves",
    "archive": "Archive in an object store (neither `WAL_S3_BUCKET` nor `WALE_S3_PREFIX`: no archive)",
    "backup": "Base backups, and replicas made from them",
    "clone": "Starting as a copy of another cluster (once, while this cluster is empty)",
    "standby": "Standby cluster: following another cluster",
    "place": "Ports, addresses, paths",
}


@dataclass(frozen=True)
class Setting:
    """One row: `default` is a parsed value or None; `shown` says in words what None means."""

    name: str
    kind: Kind
    doc: str
    group: str
    default: Any = None
    shown: str = ""
    aliases: tuple[str, ...] = ()
    from_file: bool = False

    @property
    def secret(self) -> bool:
        """Whether the value must never be printed."""
        return self.kind in (kinds.SECRET, kinds.HTTP_SECRET, kinds.CLUSTER_SECRET, kinds.PRIVATE_KEY)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


def _etcd(name: str, kind: Kind, doc: str, default: Any = None, shown: str = "") -> Setting:
    return Setting(f"ETCD_{name}", kind, doc, "etcd", default, shown, aliases=(f"ETCD3_{name}",))


def _pem(name: str, kind: Kind, doc: str) -> Setting:
    return Setting(name, kind, doc, "tls", from_file=True)


CORE: tuple[Setting, ...] = (
    Setting("SCOPE", kinds.SCOPE, "Name of the cluster; members with the same scope and etcd are one cluster. "
            "Required once an etcd is given.", "cluster", shown="`spilo` when alone"),
    Setting("MEMBER_NAME", kinds.MEMBER, "Name of this member, unique in the cluster and the same after each restart.",
            "cluster", shown="the host name"),
    Setting("NAMESPACE", kinds.NAMESPACE, "Folder in etcd under which clusters live.", "cluster", "service"),
    _etcd("HOST", kinds.ENDPOINT, "One name or address; a name with several A records gives several etcd members. "
          "Looked up again while running."),
    _etcd("HOSTS", kinds.ENDPOINTS, "Several etcd members, separated by commas."),
    _etcd("URL", kinds.ETCD_URL, "One etcd by URL; `https://` switches TLS on."),
    _etcd("PROXY", kinds.ETCD_URL, "An etcd proxy elsewhere by URL, used like `ETCD_URL`."),
    _etcd("DISCOVERY_DOMAIN", kinds.HOST,
          "Domain whose SRV records name the etcd members: `_etcd-client-ssl._tcp`, else "
          "`_etcd-client._tcp`, else `_etcd-server-ssl._tcp` or `_etcd-server._tcp` with the client port 2379. "
          "Looked up again while running."),
    _etcd("PROTOCOL", kinds.choice("http", "https"), "How to speak to the etcd members.",
          shown="https with a URL, certificate or SRV record that says so, else http"),
    _etcd("CACERT", kinds.PATH, "File with the authority that signed the etcd members' certificates.",
          shown="the system's authorities"),
    _etcd("CERT", kinds.PATH, "File with the client certificate for etcd."),
    _etcd("KEY", kinds.PATH, "File with the client certificate's key."),
    _etcd("USERNAME", kinds.TEXT, "User name in etcd, where it asks for one."),
    _etcd("PASSWORD", kinds.SECRET, "Password of that user."),
    Setting("CLUSTER_SECRET", kinds.CLUSTER_SECRET,
            "The one secret that all members of a cluster share. Every password that is not "
            "given and the key of the cluster's certificate authority are derived from it (HKDF-SHA256, salted with "
            "`SCOPE`). Required once an etcd is given.", "secrets", shown="when alone: made once, kept on the volume"),
    Setting("PGUSER_SUPERUSER", kinds.ROLE, "The database superuser.", "secrets", "postgres"),
    Setting("PGPASSWORD_SUPERUSER", kinds.SECRET, "Its password.", "secrets", shown="derived"),
    Setting("PGUSER_STANDBY", kinds.ROLE, "The role with which replicas replicate.", "secrets", "standby"),
    Setting("PGPASSWORD_STANDBY", kinds.SECRET, "Its password.", "secrets", shown="derived"),
    Setting("PGUSER_ADMIN", kinds.ROLE, "The role for people: CREATEDB and CREATEROLE, no superuser.", "secrets",
            "admin"),
    Setting("PGPASSWORD_ADMIN", kinds.SECRET, "Its password.", "secrets", shown="derived"),
    Setting("RESTAPI_USERNAME", kinds.ROLE, "User name for changes through Patroni's REST interface.", "secrets",
            "patroni"),
    Setting("RESTAPI_PASSWORD", kinds.HTTP_SECRET, "Its password.", "secrets", shown="derived"),
    _pem("SSL_CERTIFICATE", kinds.CERTIFICATE, "Certificate (with its chain) that PostgreSQL shows to clients."),
    _pem("SSL_PRIVATE_KEY", kinds.PRIVATE_KEY, "Its key."),
    _pem("SSL_CA", kinds.CERTIFICATE,
         "The authority that signed it, which members then trust too. Required with `SSL_CERTIFICATE`."),
    Setting("SSL_NAMES", kinds.HOSTS,
            "More names and addresses for the certificates that members issue to themselves, such as a load "
            "balancer's, so that clients can verify them (`sslmode=verify-full`).", "tls", ()),
    _pem("SSL_CRL", kinds.CRL, "Revocation list for client certificates."),
    _pem("SSL_RESTAPI_CERTIFICATE", kinds.CERTIFICATE, "Certificate of Patroni's REST interface."),
    _pem("SSL_RESTAPI_PRIVATE_KEY", kinds.PRIVATE_KEY, "Its key."),
    _pem("SSL_RESTAPI_CA", kinds.CERTIFICATE, "The authority that signed it. Required with `SSL_RESTAPI_CERTIFICATE`."),
    Setting("ALLOW_NOSSL", kinds.FLAG, "Let clients connect without TLS. Replication stays encrypted.", "behaviour",
            False),
    Setting("DURABILITY", kinds.choice("quorum", "strict", "async"),
            "`quorum`: a commit is acknowledged once a replica has it too; with no replica left, the primary goes on "
            "alone. `strict`: never without a replica. `async`: the primary alone decides, and a failover can lose the "
            "last moments. See docs/limits.md.", "behaviour", "quorum"),
    Setting("TIMINGS", kinds.choice("fast", "balanced", "patient"),
            "How soon a silent primary is replaced, against how much trouble "
            "with etcd is waited out. See docs/limits.md.", "behaviour", "balanced"),
    Setting("SPILO_CONFIGURATION", kinds.MAPPING,
            "YAML, merged deeply into Patroni's configuration: the way to override anything. "
            "Lists are replaced. What it may not override is refused by name.", "behaviour", {}, "nothing",
            aliases=("PATRONI_CONFIGURATION",)),
    Setting("INITDB_LOCALE", kinds.LOCALE,
            "Locale of a new cluster. `C.UTF-8` is PostgreSQL's builtin one, whose order no update of the "
            "operating system changes; any other is looked up in ICU.", "behaviour", "C.UTF-8"),
    Setting("PGVERSION", kinds.choice("17"), "Major version of PostgreSQL; this image has one.", "behaviour", "17"),
    Setting("LOG_LEVEL", kinds.choice("DEBUG", "INFO", "WARNING", "ERROR"), "How much Patroni logs.", "behaviour",
            "INFO"),
    Setting("PGPORT", kinds.PORT, "Port of PostgreSQL.", "place", 5432),
    Setting("APIPORT", kinds.PORT, "Port of Patroni's REST interface.", "place", 8008),
    Setting("ETCD_LOCAL_PORT", kinds.PORT, "Port on loopback of the local etcd proxy (alone: of the etcd itself).",
            "place", 2379),
    Setting("PG_CONNECT_ADDRESS", kinds.ADDRESS, "Where the other members and clients reach this PostgreSQL.", "place",
            shown="the machine's address and `PGPORT`"),
    Setting("RESTAPI_CONNECT_ADDRESS", kinds.ADDRESS, "Where the other members reach this REST interface.", "place",
            shown="the machine's address and `APIPORT`"),
    Setting("PGHOME", kinds.PATH, "Home of the postgres user.", "place", "/home/postgres"),
    Setting("PGROOT", kinds.PATH, "Everything that must survive, on the volume.", "place",
            shown="`$PGHOME/pgdata/pgroot`"),
    Setting("PGDATA", kinds.PATH, "PostgreSQL's data directory.", "place", shown="`$PGROOT/data`"),
    Setting("RW_DIR", kinds.PATH, "Everything that is made anew at each boot; best a tmpfs.", "place", "/run"),
)
