"""THE TABLE of settings, and `read`, which turns an environment into Settings or reports every problem at once.

A setting is declared here and nowhere else: docs/settings.md is generated from the table, errors quote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap import foreign, kinds
from bootstrap.kinds import Kind, Secret

GROUPS = {
    "cluster": "Which cluster, which member",
    "etcd": "Where etcd is (none of these: the member stands alone, with an etcd of its own)",
    "secrets": "Secrets and roles",
    "tls": "Certificates from elsewhere (none of these: members issue their own, see `CLUSTER_SECRET`)",
    "behaviour": "How it behaves",
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


TABLE: tuple[Setting, ...] = (
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


@dataclass(frozen=True)
class Settings(Mapping[str, Any]):
    """Parsed settings by name. `sources` says for each where it came from: the variable's name, or `default`;
    `files` for those read from a file (NAME_FILE) which file."""

    values_: Mapping[str, Any] = field(repr=False)
    sources: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    @property
    def alone(self) -> bool:
        """Whether no etcd is given, so that this member is a cluster of its own."""
        return all(self[name] is None for name in EXCLUSIVE)

    @property
    def pgroot(self) -> str:
        return str(self["PGROOT"] or self["PGHOME"] + "/pgdata/pgroot")

    @property
    def pgdata(self) -> str:
        return str(self["PGDATA"] or self.pgroot + "/data")


def _read_file(path: str) -> str:
    return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")


def _fetch(setting: Setting, environ: Mapping[str, str], read_file: Callable[[str], str],
           problems: list[Problem]) -> tuple[str | None, str]:
    """The text of a setting and the name of the variable it came from; an empty variable counts as not given."""
    given = [name for base in setting.names for name in (base, f"{base}_FILE")
             if environ.get(name) and (setting.secret or setting.from_file or name == base)]
    if len(given) > 1:
        problems.append(Problem(" and ".join(given), "", "only one of them", f"remove all but {given[0]}"))
        return None, ""
    if not given:
        return None, "default"
    name = given[0]
    if not name.endswith("_FILE") or name in setting.names:
        return environ[name], name
    try:
        return read_file(environ[name]), name
    except UnicodeDecodeError:
        problems.append(Problem(name, environ[name], "a file with text in UTF-8",
                                "write the value into the file as UTF-8 text"))
    except OSError as error:
        path = environ[name] if environ[name].startswith("/") else "no absolute path"  # but perhaps the secret itself
        problems.append(Problem(name, path, f"a file that can be read ({error.strerror})",
                                "mount the file, and make it readable for the user of the container"))
    return None, ""


def _parse(setting: Setting, text: str, source: str, problems: list[Problem]) -> Any:
    try:
        text.encode("utf-8")
        return setting.kind(text)
    except UnicodeEncodeError:
        problems.append(Problem(source, "<not UTF-8>", setting.kind.expects, "give the value in UTF-8"))
    except ValueError as error:
        hidden = len(text) > 80 or setting.kind is kinds.MAPPING or "@" in text  # it can hold a password
        given = "<secret>" if setting.secret else f"a text of {len(text)} characters" if hidden else repr(text)
        otherwise = setting.shown or setting.default
        problems.append(Problem(source, given, str(error), f"change {source}, or remove it"
                                + (f" (default: {otherwise})" if otherwise else "")))
    return None


def _unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Variables that look as if they were meant for us, but are no setting."""
    known = {name for setting in TABLE for name in setting.names}
    known |= {f"{name}_FILE" for setting in TABLE if setting.secret or setting.from_file for name in setting.names}
    for name in sorted(set(environ) - known):
        found = foreign.judge(name, known)
        if found:
            yield Problem(name, "given", *found)


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


def _together(values: Mapping[str, Any], alone: bool) -> Iterator[Problem]:
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


def read(environ: Mapping[str, str], read_file: Callable[[str], str] = _read_file,
         check: Callable[[Mapping[str, Any], bool], list[Problem]] = lambda config, plain: [],
         ) -> tuple[Settings, list[Problem]]:
    """Settings from an environment, and every problem there is (then the settings are not to be used).

    `check` judges SPILO_CONFIGURATION, given ALLOW_NOSSL; it is a parameter because the rules are those of the rendered
    file.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    broken: set[str] = set()
    for setting in TABLE:
        before = len(problems)
        text, source = _fetch(setting, environ, read_file, problems)
        values[setting.name] = setting.default if text is None else _parse(setting, text, source, problems)
        sources[setting.name] = source
        if len(problems) > before:
            broken.add(setting.name)
    alone = not any(sources[name] != "default" or name in broken for name in EXCLUSIVE)
    problems += [problem for problem in _together(values, alone) if problem.name not in broken]
    problems += _unknown(environ)
    problems += check(values["SPILO_CONFIGURATION"] or {}, values["ALLOW_NOSSL"] or False)
    files = {name: environ[source] for name,
             source in sources.items() if source.endswith("_FILE") and source in environ}
    return Settings(values, sources, files), problems


def secrets(settings: Settings) -> list[str]:
    """Every secret text among the settings, for masking."""
    return [value.reveal() for value in settings.values() if isinstance(value, Secret)]
