"""The table of settings, and what becomes of a right and of a wrong environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import kinds, settings, storekinds
from bootstrap.__main__ import effective
from bootstrap.kinds import Secret
from bootstrap.settings import GROUPS, TABLE, Setting
from tests.unit.samples import AUTHORITY, CERTIFICATE, CLUSTER, CRL, KEY, good, read

FROM_FILE = [row for row in TABLE if row.secret or row.from_file]
CONTENT = {kinds.SECRET: "a secret", kinds.HTTP_SECRET: "another", kinds.CLUSTER_SECRET: "0123456789abcdef",
           kinds.CERTIFICATE: CERTIFICATE, kinds.CRL: CRL, kinds.PRIVATE_KEY: KEY}
# Characters that shells, YAML, JSON, regular expressions, HTML or supervisord treat in a way of their own.
NASTY = st.text(st.sampled_from(list("aZ0 '\"&%#$\\{}[]()<>|^*+?.:,;!`~=@/-_äß€😀\u00a0\u2028\x7f\t")) | st.characters(
    exclude_categories=["Cs"], exclude_characters="\0\n\r"), max_size=20)


def one(environ: dict[str, str]) -> settings.Problem:
    """The only problem of an environment."""
    (problem,) = read(environ)[1]
    return problem


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_row(row: Setting) -> None:
    """A row has a sentence of documentation, a known group, and a default that its own kind would give."""
    assert row.doc.endswith((".", "`."))
    assert row.group in GROUPS
    assert row.kind.expects
    if row.default is not None and row.default not in ((), {}):
        assert row.kind(str(row.default)) == row.default


def test_names_are_unique() -> None:
    """No name, alias or file name stands for two settings."""
    names = [name for row in TABLE for name in row.names]
    names += [f"{name}_FILE" for row in FROM_FILE for name in row.names]
    assert len(set(names)) == len(names)


def test_secrets_are_secret() -> None:
    """Whatever is called a password, a secret or a private key has a kind that does not print."""
    named = {row.name for row in TABLE if any(word in row.name for word in ("PASSWORD", "SECRET", "PRIVATE_KEY",
                                                                     "ACCESS_KEY", "SESSION_TOKEN"))}
    assert {row.name for row in TABLE if row.secret} == named


def test_empty_environment() -> None:
    """Nothing given is right, and gives the defaults of a member that stands alone."""
    found, problems = read({})
    assert problems == []
    assert dict(found) == {row.name: row.default for row in TABLE}
    assert set(found.sources.values()) == {"default"}
    assert found.alone
    assert (found.pgroot, found.pgdata) == ("/home/postgres/pgdata/pgroot", "/home/postgres/pgdata/pgroot/data")


def test_empty_variable() -> None:
    """An empty variable counts as not given."""
    assert dict(good({row.name: "" for row in TABLE})) == dict(good({}))


def test_paths_follow_one_another() -> None:
    """PGROOT follows PGHOME, and PGDATA follows PGROOT."""
    assert good({"PGHOME": "/x"}).pgdata == "/x/pgdata/pgroot/data"
    assert good({"PGROOT": "/y"}).pgdata == "/y/data"
    assert good({"PGROOT": "/y", "PGDATA": "/z"}).pgdata == "/z"


@pytest.mark.parametrize(("alias", "name"), [(alias, row.name) for row in TABLE for alias in row.aliases])
def test_alias(alias: str, name: str) -> None:
    """A setting is found under its other names too, and knows which one it was."""
    (row,) = [row for row in TABLE if row.name == name]
    texts = {kinds.ETCD_URL: "http://a", kinds.PATH: "/a", kinds.MAPPING: "{}", kinds.FLAG: "true", kinds.INTEGER: "1",
             storekinds.S3_URL: "s3://backups/a", storekinds.COUNT: "1", storekinds.BYTES: "1MB"}
    words = {"ETCD_PROTOCOL": "https"} | dict.fromkeys(("WALE_S3_SSE", "CLONE_WALE_S3_SSE", "STANDBY_WALE_S3_SSE"), "none")
    found, _ = read({alias: texts.get(row.kind, words.get(name, "a"))})
    assert found.sources[name] == alias
    assert found[name] is not None


def test_two_spellings() -> None:
    """A setting under two of its names is a problem, even when both say the same."""
    problem = one({**CLUSTER, "ETCD3_HOST": CLUSTER["ETCD_HOST"]})
    assert (problem.name, problem.fix) == ("ETCD_HOST and ETCD3_HOST", "remove all but ETCD_HOST")


@pytest.mark.parametrize("row", FROM_FILE, ids=lambda row: row.name)
def test_file(row: Setting) -> None:
    """Every secret and every certificate can come from a file."""
    text = CONTENT[row.kind]
    found, _ = read({f"{row.name}_FILE": "/secrets/one"}, {"/secrets/one": text})
    assert found[row.name] == row.kind(text)
    assert found.sources[row.name] == f"{row.name}_FILE"
    assert found.files == {row.name: "/secrets/one"}


@pytest.mark.parametrize("row", FROM_FILE, ids=lambda row: row.name)
def test_value_and_file(row: Setting) -> None:
    """The value and its file at once are a problem, and neither the value nor the file's content is shown."""
    text = CONTENT[row.kind]
    found, problems = read({row.name: text, f"{row.name}_FILE": "/secrets/one"}, {"/secrets/one": text})
    assert f"{row.name} and {row.name}_FILE; expected only one of them" in str(problems[0])
    assert text not in repr((found, problems))


def test_file_of_an_alias() -> None:
    """The file name of an alias works too."""
    found, problems = read({**CLUSTER, "ETCD3_PASSWORD_FILE": "/p"}, {"/p": "x"})
    assert (found["ETCD_PASSWORD"], problems) == (Secret("x"), [])


def test_file_that_is_missing() -> None:
    """A file that cannot be read is a problem that names the file and the reason."""
    (problem,) = read({"PGPASSWORD_ADMIN_FILE": "/nowhere"}, {})[1]
    assert (problem.name, problem.given) == ("PGPASSWORD_ADMIN_FILE", "/nowhere")
    assert "No such file" in problem.expected


def test_password_instead_of_a_path() -> None:
    """Who gives a password where a path belongs does not find the password in the log."""
    (problem,) = read({"PGPASSWORD_ADMIN_FILE": "hunter2"}, {})[1]
    assert "hunter2" not in str(problem)


def test_file_on_disk(tmp_path: Path) -> None:
    """One line break at the end of a file does not belong to the secret, two are too many, and Latin-1 is refused."""
    texts = {"unix": b"a b\n", "dos": b"a b\r\n", "none": b"a b", "two": b"a b\n\n", "latin": "ä".encode("latin-1")}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    for name in ("unix", "dos", "none"):
        found, problems = settings.read({"PGPASSWORD_ADMIN_FILE": str(tmp_path / name)})
        assert (found["PGPASSWORD_ADMIN"], problems) == (Secret("a b"), [])
    for name, words in (("two", "line break"), ("latin", "UTF-8")):
        (problem,) = settings.read({"PGPASSWORD_ADMIN_FILE": str(tmp_path / name)})[1]
        assert words in str(problem)


def test_file_for_what_is_no_secret() -> None:
    """NAME_FILE of a setting that cannot come from a file is a problem, not ignored."""
    problem = one({"PGUSER_ADMIN_FILE": "/run/secrets/user"})
    assert (problem.name, problem.fix) == ("PGUSER_ADMIN_FILE", "give the value itself as PGUSER_ADMIN")


def test_every_problem_at_once() -> None:
    """Eight mistakes give eight problems, each with the name, what was given, what is expected, and the fix."""
    _, problems = read({
        "SCOPE": "Demo!", "PGPORT": "x", "ALLOW_NOSSL": "maybe", "DURABILITY": "safe", "PGPASSWORD_ADMIN": "a\nb",
        "CLUSTER_SECRET": "short", "PGHOME": "relative", "PGPASWORD_STANDBY": "x",
    })
    assert {problem.name: problem.given for problem in problems} == {
        "SCOPE": "'Demo!'", "PGPORT": "'x'", "ALLOW_NOSSL": "'maybe'", "DURABILITY": "'safe'",
        "PGPASSWORD_ADMIN": "<secret>",
        "CLUSTER_SECRET": "<secret>", "PGHOME": "'relative'", "PGPASWORD_STANDBY": "given",
    }
    assert len(problems) == 8
    assert all(problem.expected and problem.fix for problem in problems)
    assert str(problems[0]).startswith("SCOPE is 'Demo!'; expected 1 to 63 of")
    assert "Fix: change SCOPE, or remove it (default: `spilo` when alone)" in str(problems[0])


@pytest.mark.parametrize(("given_name", "meant"), [
    ("ETCD_HOSTT", "ETCD_HOST"), ("PGPASSWORD_ADMN", "PGPASSWORD_ADMIN"), ("SCOP", "SCOPE"),
    ("DURABILTY", "DURABILITY"),
    ("scope", "SCOPE"), ("ETCD_DISCOVERY_DOMAN", "ETCD_DISCOVERY_DOMAIN"), ("ALLOW_NO_SSL", "ALLOW_NOSSL"),
    ("SPILO_CONFIGURATON", "SPILO_CONFIGURATION"), ("CLUSTER_SECRETS", "CLUSTER_SECRET"), ("PG_PORT", "PGPORT"),
    ("API_PORT", "APIPORT"),
    ("PGPASSWORD_SUPERUSER_FIEL", "PGPASSWORD_SUPERUSER_FILE"), ("ETCD_HOST_", "ETCD_HOST"),
    ("SSL_CERTIFCATE", "SSL_CERTIFICATE"),
    ("LOGLEVEL", "LOG_LEVEL"), ("TIMING", "TIMINGS"), ("RESTAPI_PASWORD", "RESTAPI_PASSWORD"),
])
def test_near_miss(given_name: str, meant: str) -> None:
    """A name that is almost a setting's is a problem that says which one is meant."""
    problem = one({given_name: "x"})
    assert problem.name == given_name
    assert meant in problem.fix


@pytest.mark.parametrize("name", [
    "PATH", "HOME", "HOSTNAME", "LANG", "LC_ALL", "LANGUAGE", "PWD", "OLDPWD", "TERM", "SHLVL", "USER", "LOGNAME",
    "SHELL", "TZ",
    "EDITOR", "PAGER", "_", "DEBIAN_FRONTEND", "PYTHONUNBUFFERED", "container", "PORT", "VERSION",
    "PGHOST", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGPASSFILE", "PGOPTIONS", "PGSERVICE", "PGTZ",
    "KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT", "KUBERNETES_PORT_443_TCP_ADDR", "ETCD_PORT", "ETCD_PORT_2379_TCP",
    "ETCD_PORT_2379_TCP_ADDR", "ETCD_SERVICE_HOST", "ETCD_SERVICE_PORT", "ETCD_HOST_SERVICE_HOST", "ETCD_NAME",
    "ETCD_VERSION",
    "ETCDCTL_API", "ETCDCTL_CACERT", "ETCDCTL_CERT", "ETCDCTL_ENDPOINTS", "POD_NAME", "POD_NAMESPACE",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "http_proxy", "NO_PROXY", "AWS_REGION", "AWS_ACCESS_KEY_ID",
    "LD_PRELOAD",
])
def test_names_of_others(name: str) -> None:
    """A name that belongs to somebody else is left alone."""
    assert read({name: "x"})[1] == []


@pytest.mark.parametrize(("name", "here"), [
    ("POSTGRES_PASSWORD", "PGPASSWORD_SUPERUSER"), ("POSTGRES_PASSWORD_FILE", "PGPASSWORD_SUPERUSER_FILE"),
    ("POSTGRES_USER", "PGUSER_SUPERUSER"), ("POSTGRES_DB", "SQL"),
    ("POSTGRES_HOST_AUTH_METHOD", "passwords are always asked for"),
    ("POSTGRES_INITDB_ARGS", "INITDB_LOCALE"), ("PATRONI_NAME", "MEMBER_NAME"), ("PATRONI_SCOPE", "SCOPE"),
    ("PATRONI_LOG_LEVEL", "SPILO_CONFIGURATION"), ("PATRONI_SUPERUSER_PASSWORD", "SPILO_CONFIGURATION"),
])
def test_names_of_other_images(name: str, here: str) -> None:
    """What other images call a setting is a problem that says what it is called here."""
    problem = one({name: "trust"})
    assert problem.name == name
    assert here in problem.fix
    assert "trust" not in str(problem)


@pytest.mark.parametrize("name", [
    "WAL_GS_BUCKET", "WALG_LIBSODIUM_KEY", "WALE_GS_PREFIX", "USE_WALG_BACKUP", "CLONE_WAL_GCS_BUCKET", "CLONE_PGPASS",
    "USE_PAUSE_AT_RECOVERY_TARGET", "STANDBY_USE_WALG", "LOG_S3_BUCKET", "EIP_ALLOCATION", "CALLBACK_SCRIPT",
    "CRONTAB", "PGBOUNCER_CONFIGURATION", "PAM_OAUTH2", "ZOOKEEPER_HOSTS", "CONSUL_HOST", "DCS_ENABLE_KUBERNETES_API",
])
def test_settings_without_their_feature(name: str) -> None:
    """A setting of Spilo that promises something this version does not do stops the start."""
    problem = one({name: "x"})
    assert problem.name == name
    assert f"remove {name}" in problem.fix


def test_flags_are_strict() -> None:
    """`false` is false, and what is neither true nor false is refused."""
    assert good({"ALLOW_NOSSL": "false"})["ALLOW_NOSSL"] is False
    assert good({"ALLOW_NOSSL": "true"})["ALLOW_NOSSL"] is True
    assert one({"ALLOW_NOSSL": "maybe"}).expected == kinds.FLAG.expects


@pytest.mark.parametrize(("environ", "names"), [
    ({"ETCD_HOST": "a"}, ["SCOPE", "CLUSTER_SECRET"]),
    ({"ETCD_HOST": "a", "SCOPE": "demo"}, ["CLUSTER_SECRET"]),
    ({"ETCD_DISCOVERY_DOMAIN": "example.com", "CLUSTER_SECRET": "x" * 16}, ["SCOPE"]),
    ({"ETCD_HOST": "a", "SCOPE": "Demo", "CLUSTER_SECRET": "x" * 16}, ["SCOPE"]),
    ({"ETCD_HOST": "a b", "SCOPE": "demo"}, ["ETCD_HOST", "CLUSTER_SECRET"]),
    ({**CLUSTER, "ETCD_HOSTS": "a,b"}, ["ETCD_HOST and ETCD_HOSTS"]),
    ({**CLUSTER, "ETCD_URL": "http://a", "ETCD_DISCOVERY_DOMAIN": "example.com"},
     ["ETCD_HOST and ETCD_URL and ETCD_DISCOVERY_DOMAIN"]),
    ({**CLUSTER, "ETCD_CERT": "/c"}, ["ETCD_KEY"]),
    ({**CLUSTER, "ETCD_KEY": "/k"}, ["ETCD_CERT"]),
    ({"ETCD_CACERT": "/ca", "ETCD_USERNAME": "u", "ETCD_PASSWORD": "p", "ETCD_PROTOCOL": "https"},
     ["ETCD_PROTOCOL", "ETCD_CACERT", "ETCD_USERNAME", "ETCD_PASSWORD"]),
    ({"SCOPE": "demo", "CLUSTER_SECRET": "x" * 16, "ETCD_URL": "https://a", "ETCD_PROTOCOL": "http"},
     ["ETCD_PROTOCOL"]),
    ({**CLUSTER, "ETCD_PROTOCOL": "http", "ETCD_CACERT": "/ca"}, ["ETCD_CACERT"]),
    ({"SSL_CERTIFICATE": CERTIFICATE}, ["SSL_PRIVATE_KEY", "SSL_CA"]),
    ({"SSL_PRIVATE_KEY": KEY}, ["SSL_CERTIFICATE"]),
    ({"SSL_CERTIFICATE": CERTIFICATE, "SSL_PRIVATE_KEY": KEY}, ["SSL_CA"]),
    ({"SSL_RESTAPI_CERTIFICATE": CERTIFICATE, "SSL_RESTAPI_CA": AUTHORITY}, ["SSL_RESTAPI_PRIVATE_KEY"]),
    ({"PGUSER_ADMIN": "postgres"}, ["PGUSER_SUPERUSER, PGUSER_STANDBY, PGUSER_ADMIN"]),
    ({"PGPORT": "8008"}, ["PGPORT, APIPORT, ETCD_LOCAL_PORT"]),
])
def test_settings_together(environ: dict[str, str], names: list[str]) -> None:
    """Settings that exclude or need one another are told by name, once each."""
    assert [problem.name for problem in read(environ)[1]] == names


@pytest.mark.parametrize("environ", [
    CLUSTER,
    {**CLUSTER, "ETCD_CERT": "/c", "ETCD_KEY": "/k", "ETCD_CACERT": "/ca"},
    {"SCOPE": "demo", "CLUSTER_SECRET": "x" * 16, "ETCD_URL": "https://a", "ETCD_PROTOCOL": "https",
     "ETCD_CACERT": "/ca"},
    {"SSL_CERTIFICATE": CERTIFICATE, "SSL_PRIVATE_KEY": KEY, "SSL_CA": AUTHORITY, "SSL_CRL": CRL},
    {"SCOPE": "demo"},
])
def test_settings_that_agree(environ: dict[str, str]) -> None:
    """What belongs together and is given together is no problem."""
    assert read(environ)[1] == []


def test_a_broken_way_to_etcd_is_not_alone() -> None:
    """A misspelt etcd never turns a member of a cluster into one that stands alone."""
    assert [problem.name for problem in read({"ETCD_HOSTS": "a,,b"})[1]] == ["ETCD_HOSTS", "SCOPE", "CLUSTER_SECRET"]


def test_url_with_a_password() -> None:
    """Credentials in etcd's URL are refused and not shown."""
    problem = one({**{k: v for k, v in CLUSTER.items() if k != "ETCD_HOST"},
                   "ETCD_URL": "https://root:hunter2@etcd:2379"})
    assert "ETCD_PASSWORD" in problem.expected
    assert "hunter2" not in str(problem)


def test_text_that_is_not_utf8() -> None:
    """Bytes that are no UTF-8 (Python hands them over as surrogates) are refused."""
    assert one({"PGPASSWORD_ADMIN": "a\udcff"}).given == "<not UTF-8>"


@given(st.builds("{}Zq7{}".format, NASTY, NASTY))
def test_secrets_do_not_show(text: str) -> None:
    """A secret shows in no representation: not of itself, the settings, their problems, or the boot's summary."""
    secret = Secret(text)
    assert {repr(secret), str(secret), f"{secret}", f"{[secret]}"} == {"<secret>", "[<secret>]"}
    assert secret.reveal() == text
    names = [row.name for row in FROM_FILE if row.secret]
    found, problems = read({name: text for name in names})
    assert "Zq7" not in f"{found!r} {found} {problems} {[str(one) for one in problems]} {effective(found)}"


def test_effective_settings() -> None:
    """The boot's summary has what is not at its default, where it came from, and of YAML and PEM only what they are."""
    found, _ = read({"ETCD3_HOSTS": "a,b", "SCOPE": "demo", "CLUSTER_SECRET_FILE": "/s", "SSL_CA": AUTHORITY,
                     "SPILO_CONFIGURATION": "{tags: {nofailover: true}, postgresql: {callbacks: {on_stop: x -u a:b}}}"},
                    {"/s": "0123456789abcdef"})
    assert effective(found) == {
        "SCOPE": "demo", "ETCD_HOSTS": "a:2379,b:2379 (ETCD3_HOSTS)",
        "CLUSTER_SECRET": "<secret> (CLUSTER_SECRET_FILE)",
        "SSL_CA": f"<{len(AUTHORITY)} characters>",
        "SPILO_CONFIGURATION": "tags.nofailover,postgresql.callbacks.on_stop",
    }
