"""What each kind of setting accepts and refuses."""

from __future__ import annotations

import pytest

from bootstrap import kinds, storekinds
from bootstrap.kinds import Endpoint, Kind, Secret

GOOD: list[tuple[Kind, str, object]] = [
    (kinds.TEXT, "any text", "any text"),
    (kinds.SCOPE, "demo-1.a_b", "demo-1.a_b"),
    (kinds.SCOPE, "a", "a"),
    (kinds.SCOPE, "a" * 63, "a" * 63),
    (kinds.MEMBER, "Node-1", "Node-1"),
    (kinds.NAMESPACE, "/service/", "service"),
    (kinds.NAMESPACE, "a/b_c", "a/b_c"),
    (kinds.ROLE, "app-owner", "app-owner"),
    (kinds.ROLE, "_x$1", "_x$1"),
    (kinds.INTEGER, "0", 0),
    (kinds.PORT, "1", 1),
    (kinds.PORT, "65535", 65535),
    (kinds.PATH, "/", "/"),
    (kinds.PATH, "/a/%b/", "/a/%b"),
    (kinds.ADDRESS, "db.example.com", "db.example.com"),
    (kinds.ADDRESS, "db.example.com:5433", "db.example.com:5433"),
    (kinds.ADDRESS, "[2001:db8::1]:5433", "[2001:db8::1]:5433"),
    (kinds.ADDRESS, "[2001:db8::1]", "[2001:db8::1]"),
    (kinds.ENDPOINT, "etcd", Endpoint("etcd", 2379)),
    (kinds.ENDPOINT, " etcd.example.com.:4001 ", Endpoint("etcd.example.com", 4001)),
    (kinds.ENDPOINT, "[2001:db8::1]:4001", Endpoint("2001:db8::1", 4001)),
    (kinds.ENDPOINT, "2001:db8::1", Endpoint("2001:db8::1", 2379)),
    (kinds.ENDPOINTS, "a:1,b:2", (Endpoint("a", 1), Endpoint("b", 2))),
    (kinds.ENDPOINTS, "a, b", (Endpoint("a", 2379), Endpoint("b", 2379))),
    (kinds.ENDPOINTS, "'a:1','b:2'", (Endpoint("a", 1), Endpoint("b", 2))),
    (kinds.ENDPOINTS, '["a:1", "b:2"]', (Endpoint("a", 1), Endpoint("b", 2))),
    (kinds.ENDPOINTS, "[a:1, b:2]", (Endpoint("a", 1), Endpoint("b", 2))),
    (kinds.ENDPOINTS, "[::1]:1,[::2]:2", (Endpoint("::1", 1), Endpoint("::2", 2))),
    (kinds.ENDPOINTS, "192.0.2.1", (Endpoint("192.0.2.1", 2379),)),
    (kinds.ETCD_URL, "https://etcd.example.com:2379/", "https://etcd.example.com:2379"),
    (kinds.ETCD_URL, "http://[::1]:2379", "http://[::1]:2379"),
    (kinds.HOST, "example.com.", "example.com"),
    (kinds.HOST, "_etcd.example.com", "_etcd.example.com"),
    (kinds.HOSTS, "a.example.com, 192.0.2.1, ::1", ("a.example.com", "192.0.2.1", "::1")),
    (kinds.MAPPING, "{a: {b: [1]}}", {"a": {"b": [1]}}),
    (kinds.MAPPING, "# nothing", {}),
    (kinds.SECRET, " 'a&b\"%(x)s # ä ", Secret(" 'a&b\"%(x)s # ä ")),
    (kinds.HTTP_SECRET, " ~a:b\"'%", Secret(" ~a:b\"'%")),
    (kinds.CLUSTER_SECRET, "x" * 16, Secret("x" * 16)),
    (kinds.CERTIFICATE, "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
     "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n"),
    (kinds.PRIVATE_KEY, "-----BEGIN EC PRIVATE KEY-----\nA\n-----END EC PRIVATE KEY-----",
     Secret("-----BEGIN EC PRIVATE KEY-----\nA\n-----END EC PRIVATE KEY-----\n")),
    (kinds.CRL, "-----BEGIN X509 CRL-----\nA\n-----END X509 CRL-----\n\n",
     "-----BEGIN X509 CRL-----\nA\n-----END X509 CRL-----\n"),
    (kinds.LOCALE, "C.UTF-8", "C.UTF-8"),
    (kinds.LOCALE, "de-CH", "de-CH"),
    (kinds.LOCALE, "en_US.utf8", "en_US.utf8"),
    (storekinds.BUCKET, "my-bucket.1", "my-bucket.1"),
    (storekinds.KEY_PART, "", ""),
    (storekinds.KEY_PART, "team/a", "team/a"),
    (storekinds.S3_URL, "s3://bucket/a/b/", "s3://bucket/a/b"),
    (storekinds.HTTP_URL, "https://s3.example.com:9000/", "https://s3.example.com:9000"),
    (storekinds.WALE_ENDPOINT, "http+path://store:8333", "http+path://store:8333"),
    (storekinds.CRON, "0  1 * * *", "0 1 * * *"),
    (storekinds.CRON, "never", "never"),
    (storekinds.MOMENT, "2026-01-31T13:45:00Z", "2026-01-31 13:45:00+00:00"),
    (storekinds.MOMENT, "2026-01-31 13:45:00+02:00", "2026-01-31 13:45:00+02:00"),
    (storekinds.LSN, "0/3000028", "0/3000028"),
    (storekinds.LSN, "1a/ff", "1A/FF"),
    (storekinds.TIMELINE, "latest", "latest"),
    (storekinds.TIMELINE, "0x1F", "31"),
    (storekinds.COUNT, "1", 1),
    (storekinds.BYTES, "50MB", 50 << 20),
    (storekinds.BYTES, "1000", 1000),
    (storekinds.SLOT, "a_1", "a_1"),
    (kinds.choice("a", "b"), "b", "b"),
    *((kinds.FLAG, word, True) for word in ("true", "True", "on", "YES", "1", " true ")),
    *((kinds.FLAG, word, False) for word in ("false", "False", "off", "NO", "0")),
]
BAD: list[tuple[Kind, str]] = [
    (kinds.TEXT, "two\nlines"),
    *((kinds.SCOPE, text) for text in ("Demo", "-a", "a-", "a/b", "a b", "a\n", "ä", "a" * 64)),
    *((kinds.MEMBER, text) for text in ("-a", "a.", "a b", "a" * 64)),
    *((kinds.NAMESPACE, text) for text in ("/", "a//b", "a b", "../a")),
    *((kinds.ROLE, text) for text in ("pg_monitor", "Admin", "1a", "a b", 'a"b', "a" * 64)),
    *((kinds.INTEGER, text) for text in ("-1", "1.0", "", " 1", "٣")),
    *((kinds.PORT, text) for text in ("0", "65536", "5432/tcp", "tcp://10.0.0.1:5432", "５４３２")),
    *((kinds.PATH, text) for text in ("a", "./a", "~/a", "/a\n", "/a b", "/a;b", "/a#b", "/a\"b", "/a'b", "/a\\b",
                                      "/$HOME")),
    *((kinds.ADDRESS, text) for text in ("::1", "a:", "a:0", "a:b", ":5432", "http://a", "a b", "[a]:1", "256.0.0.1")),
    *((kinds.ENDPOINT, text) for text in ("", "a:99999", "a,b", "a b", "https://a:2379", "-a", "a..b", "x" * 64)),
    *((kinds.ENDPOINTS, text) for text in ("", "a,,b", "a,", "[]", "https://a:2379,https://b:2379", "{a: 1}")),
    *((kinds.ETCD_URL, text) for text in ("a:2379", "ftp://a", "http://", "http://a/v3", "http://u:p@a", "http://a?x=1",
                                          "http://a:0")),
    *((kinds.HOST, text) for text in ("", ".", "a b", "a:1", "a/b", f"{'a.' * 127}abc")),
    *((kinds.HOSTS, text) for text in ("", "a,,b", "a b")),
    *((kinds.MAPPING, text) for text in ("[1]", "text", "{a", "a: b: c")),
    *((kinds.SECRET, text) for text in ("", "a\nb", "a\r", "a\0b")),
    *((kinds.HTTP_SECRET, text) for text in ("", "ä", "a\nb", "a\tb", "a\0b")),
    *((kinds.CLUSTER_SECRET, text) for text in ("x" * 15, "", "x" * 16 + "\n")),
    *((kinds.CERTIFICATE, text) for text in ("", "/certs/server.crt",
                                             "-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----")),
    *((kinds.PRIVATE_KEY, text) for text in ("", "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----")),
    *((kinds.CRL, text) for text in ("", "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----")),
    *((kinds.LOCALE, text) for text in ("", "../x", "en US", "en_US.latin1")),
    *((kinds.FLAG, text) for text in ("", "maybe", "2", "y", "truee", "disable")),
    *((kinds.choice("a", "b"), text) for text in ("", "A", "c", "ab")),
    (storekinds.BUCKET, "My_Bucket"),
    (storekinds.BUCKET, "a"),
    (storekinds.KEY_PART, "a b"),
    (storekinds.KEY_PART, "../a"),
    (storekinds.S3_URL, "s3://bucket"),
    (storekinds.S3_URL, "gs://bucket/a"),
    (storekinds.HTTP_URL, "store:8333"),
    (storekinds.HTTP_URL, "http://me:secret@store"),
    (storekinds.WALE_ENDPOINT, "http://store"),
    (storekinds.WALE_ENDPOINT, "ftp+path://store"),
    (storekinds.CRON, "0 25 * * *"),
    (storekinds.CRON, "daily"),
    (storekinds.MOMENT, "2026-01-31 13:45:00"),
    (storekinds.MOMENT, "yesterday"),
    (storekinds.LSN, "3000028"),
    (storekinds.TIMELINE, "0"),
    (storekinds.TIMELINE, "newest"),
    (storekinds.COUNT, "0"),
    (storekinds.BYTES, "much"),
    (storekinds.SLOT, "A-1"),
]


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_good_value(kind: Kind, text: str, value: object) -> None:
    """A good text becomes the value that it stands for."""
    assert kind(text) == value


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_bad_value(kind: Kind, text: str) -> None:
    """A bad text is refused with what is expected, and nothing is guessed."""
    with pytest.raises(ValueError) as caught:
        kind(text)
    assert str(caught.value).startswith(kind.expects)


def test_every_kind_is_tried() -> None:
    """No kind is left out of the two tables above."""
    every = {id(one) for module in (kinds, storekinds) for one in vars(module).values() if isinstance(one, Kind)}
    assert every <= {id(row[0]) for row in GOOD} & {id(row[0]) for row in BAD}


def test_reason() -> None:
    """Where the reason helps, it follows in brackets."""
    with pytest.raises(ValueError, match=r"a YAML mapping \(it is no YAML at line 1, column 3: .+\)"):
        kinds.MAPPING("{a")
    with pytest.raises(ValueError, match=r"use ETCD_URL"):
        kinds.ENDPOINT("http://a:1")


def test_endpoint_text() -> None:
    """An endpoint prints as what one types into a URL."""
    assert [str(Endpoint("a", 1)), str(Endpoint("::1", 1))] == ["a:1", "[::1]:1"]
