"""The store tells its failures apart, over a real server and a proxy that misbehaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.store import Absent, Denied, Exists, Store, Unanswered
from runtime.store.client import PART
from tests.kit import faultproxy
from tests.kit.faultproxy import FaultProxy
from tests.kit.s3 import Key, Moto


@pytest.fixture
def environment() -> Iterator[None]:
    """What a store takes into the environment is gone afterwards."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def proxy(moto: Moto) -> Iterator[FaultProxy]:
    with FaultProxy(moto) as made:
        yield made


@pytest.fixture
def store(proxy: FaultProxy, place: Path, environment: None) -> Store:
    """A store behind the proxy, which waits a second for an answer and asks twice."""
    return Store.open(proxy.folder(place / "env", "s3://here/some/where"), timeout=1, attempts=2)


def test_objects(store: Store) -> None:
    """What is put is there, listed in order below its prefix, and gone when deleted."""
    for key in ("b/2", "a", "b/1", "b/1/deep", "b/odd ä+%&= name"):
        store.put(key, key.encode())
    assert [one.key for one in store.list("b/")] == ["b/1", "b/1/deep", "b/2", "b/odd ä+%&= name"]
    assert [one.key for one in store.list("b/", after="b/1/deep")] == ["b/2", "b/odd ä+%&= name"]
    assert store.folders("b/") == ["b/1/"]
    assert store.get("b/odd ä+%&= name") == "b/odd ä+%&= name".encode()
    assert store.size("b/1/deep") == len("b/1/deep")
    store.delete([*(f"none/{number}" for number in range(1500)), "b/1"])
    with pytest.raises(Absent):
        store.get("b/1")
    with pytest.raises(Absent):
        store.size("b/1")


def test_new_means_new(store: Store) -> None:
    """A new object never replaces one."""
    store.put("once", b"first", new=True)
    with pytest.raises(Exists):
        store.put("once", b"second", new=True)
    assert store.get("once") == b"first"
    assert store.conditional()
    assert "took" in store.probe()
    assert list(store.list("spilo_005/canary/")) == []


@pytest.mark.parametrize("sizes", [(), (0,), (5,), (PART,), (PART, 1), (PART // 2, PART, PART)])
def test_upload(store: Store, sizes: tuple[int, ...]) -> None:
    """An object of any length arrives whole."""
    chunks = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    assert store.upload("large", iter(chunks)) == sum(sizes)
    assert store.get("large") == b"".join(chunks)


def test_upload_is_all_or_nothing(store: Store, proxy: FaultProxy) -> None:
    """An upload that fails leaves no object, and no parts that somebody pays for."""
    proxy.on(faultproxy.error(), method="PUT", query="*partNumber=2*")
    with pytest.raises(Unanswered):
        store.upload("broken", iter([b"x" * PART] * 3))
    proxy.heal()
    with pytest.raises(Absent):
        store.get("broken")
    assert "Uploads" not in store.client.list_multipart_uploads(Bucket="here")


@pytest.mark.parametrize("fault", [faultproxy.error(), faultproxy.error(500, "InternalError"), faultproxy.hang(), faultproxy.reset()],
                         ids=lambda fault: f"{fault.how}{fault.status or ''}")
def test_no_answer_is_no_absence(store: Store, proxy: FaultProxy, fault: faultproxy.Fault) -> None:
    """A store that is busy, silent or broken off says nothing about what is in it."""
    store.put("there", b"x")
    proxy.on(fault)
    for ask in (lambda: store.get("there"), lambda: store.get("not there"), lambda: store.put("other", b"y"),
                lambda: list(store.list()), lambda: store.delete(["there"])):
        with pytest.raises(Unanswered):
            ask()
    proxy.heal()
    assert store.get("there") == b"x"


def test_nobody_listens(store: Store, proxy: FaultProxy) -> None:
    """Neither does one that is not there at all."""
    proxy.refuse()
    with pytest.raises(Unanswered):
        store.get("anything")
    proxy.accept()


@pytest.mark.parametrize("key", [Key("AKIAUNKNOWN123456789", "not-the-secret-at-all"), None], ids=["stranger", "no bucket"])
def test_refused_is_no_absence(moto: Moto, place: Path, environment: None, key: Key | None) -> None:
    """Wrong credentials and a missing bucket are for a person to mend; they are no missing object."""
    store = Store.open(moto.folder(place / "env", "s3://here/x" if key else "s3://nowhere/x", key), attempts=1)
    for ask in (lambda: store.get("k"), lambda: store.size("k"), lambda: store.put("k", b""), lambda: list(store.list())):
        with pytest.raises(Denied) as error:
            ask()
        assert (key or moto.key).secret not in str(error.value)


@pytest.mark.parametrize(("status", "code", "kind"), [
    (403, "RequestTimeTooSkewed", Denied), (400, "ExpiredToken", Denied), (403, "SignatureDoesNotMatch", Denied),
    (404, "NoSuchBucket", Denied), (503, "SlowDown", Unanswered), (400, "RequestTimeout", Unanswered), (404, "NoSuchKey", Absent),
])
def test_answers_are_told_apart(store: Store, proxy: FaultProxy, status: int, code: str, kind: type[Exception]) -> None:
    """A clock that is wrong and a token that has ended are for a person to mend; a busy store is asked again; only its own word
    is absence."""
    store.put("there", b"x")
    proxy.on(faultproxy.error(status, code), method="GET")
    with pytest.raises(kind, match=code) as error:
        store.get("there")
    assert type(error.value) is kind


def without_keys(moto: Moto, place: Path, **more: str) -> Store:
    """A store for which boto3 has to find credentials; they are to be found by `more`."""
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    return Store.open(moto.folder(place / "env", "s3://here/found", more=none | more), attempts=1)


def test_credentials_of_a_file(moto: Moto, place: Path, environment: None) -> None:
    """Credentials are found in the file that is named, under the profile that is named."""
    file = place / "credentials"
    file.write_text(f"[spilo]\naws_access_key_id={moto.key.id}\naws_secret_access_key={moto.key.secret}\n", encoding="ascii")
    store = without_keys(moto, place, AWS_SHARED_CREDENTIALS_FILE=str(file), AWS_PROFILE="spilo")
    store.put("k", b"1")
    with pytest.raises(Denied, match="credentials"):
        without_keys(moto, place, AWS_SHARED_CREDENTIALS_FILE=str(place / "none"), AWS_PROFILE="").put("k", b"2")


def test_encryption_by_the_store(moto: Moto, place: Path, environment: None) -> None:
    """Objects are encrypted as the settings say, whichever way they are sent."""
    more = {"WALE_S3_SSE": "aws:kms", "WALE_S3_SSE_KMS_ID": "the-key"}
    store = Store.open(moto.folder(place / "env", "s3://here/kms", more=more))
    store.put("small", b"1")
    store.upload("large", iter([b"x" * PART, b"y"]))
    for key in ("small", "large"):
        head = moto.client().head_object(Bucket="here", Key=f"kms/{key}")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"].rpartition("/")[2]) == ("aws:kms", "the-key")


def test_reading_goes_on_where_it_broke(store: Store, proxy: FaultProxy) -> None:
    """A body that ends too early is taken up again; when that does not help either, it is said."""
    body = os.urandom(3_000_000)
    store.put("whole", body)
    proxy.on(faultproxy.cut(1_000_000), method="GET", key="*whole", times=2)
    assert store.get("whole") == body
    proxy.on(faultproxy.cut(1000), method="GET", key="*whole")
    with pytest.raises(Unanswered):
        store.get("whole")


def test_reading_never_mixes_two_objects(store: Store, proxy: FaultProxy) -> None:
    """An object that is replaced while it is read is not continued with the other's bytes."""
    store.put("changing", b"a" * 2_000_000)
    proxy.on(faultproxy.cut(1_000_000), method="GET", key="*changing", times=1)
    with store.stream("changing") as body:
        assert body.read(10) == b"a" * 10
        store.put("changing", b"b" * 2_000_000)
        with pytest.raises(Unanswered, match="changed"):
            body.read()


def test_folder_is_all_there_is(store: Store, moto: Moto, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the container's own environment says of stores does not count beside the folder."""
    monkeypatch.setenv("AWS_PROFILE", "somebody-else")
    monkeypatch.setenv("WALE_S3_SSE_KMS_ID", "another-key")
    other = Store.open(moto.folder(place / "other", "s3://here/other"))
    other.put("k", b"1")
    assert other.get("k") == b"1"
    assert "AWS_PROFILE" not in os.environ
