"""The S3 servers and the faults that other tests rely on are what they say they are."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest

from runtime.store import Absent, Denied, Store, Unanswered
from tests.component.servers import Authority
from tests.component.support import eventually, folder, running
from tests.kit import faultproxy
from tests.kit.faultproxy import FaultProxy
from tests.kit.metadata import Metadata
from tests.kit.s3 import Endpoint, Key, Moto, Rclone

SERVERS = {"moto": Moto, "rclone": Rclone}


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Either server."""
    made = SERVERS[request.param](request.param, folder())
    with running(made):
        made.start()
        made.until_ready()
        made.bucket("here")
        yield made


@pytest.fixture
def proxy(moto: Moto) -> Iterator[FaultProxy]:
    """A proxy in front of moto."""
    with FaultProxy(moto) as made:
        made.client().put_object(Bucket="here", Key="some/object", Body=b"x" * 100_000)
        made.state.requests.clear()
        yield made


def code(call: Any, **arguments: Any) -> str:
    """The error code that a call gets, `` when it succeeds."""
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def get(server: Endpoint, key: str = "some/object", **config: Any) -> bytes:
    return bytes(server.client(**config).get_object(Bucket="here", Key=key)["Body"].read())


def put(server: Endpoint, key: str = "some/other", body: bytes = b"y", **config: Any) -> None:
    server.client(**config).put_object(Bucket="here", Key=key, Body=body)


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable that this test's stores set stays for the next, nor what boto3 made of them."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    for name in ("WALE_S3_PREFIX", "WALE_S3_ENDPOINT", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                 "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL_STS",
                 "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "gone")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("wrong", ["secret", "id", "both"])
def test_credentials_are_checked(server: Any, wrong: str) -> None:
    """A wrong secret, an unknown key and both are refused, whether one reads or writes."""
    key = Key("AKIAUNKNOWN123456789" if wrong != "secret" else server.key.id, "no" if wrong != "id" else server.key.secret)
    stranger = server.client(key)
    assert code(stranger.put_object, Bucket="here", Key="k", Body=b"x") in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied")
    assert code(stranger.list_objects_v2, Bucket="here") in ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied")
    assert code(server.client().get_object, Bucket="here", Key="k") == "NoSuchKey"


def test_condition(server: Any) -> None:
    """moto refuses to overwrite under If-None-Match; rclone ignores the condition, and overwrites."""
    client = server.client()
    client.put_object(Bucket="here", Key="once", Body=b"first", IfNoneMatch="*")
    refused = code(client.put_object, Bucket="here", Key="once", Body=b"second", IfNoneMatch="*")
    moto = isinstance(server, Moto)
    assert refused == ("PreconditionFailed" if moto else "")
    assert get(server, "once") == (b"first" if moto else b"second")


def test_folder(server: Any, place: Path, clean: pytest.MonkeyPatch) -> None:
    """The folder has one file a variable, for its owner only, and opens as the store of the product."""
    made = server.folder(place / "env", "s3://here/a/b")
    assert {file.name: file.read_text() for file in made.iterdir()} == server.environment("s3://here/a/b")
    assert {stat.S_IMODE(file.stat().st_mode) for file in made.iterdir()} == {0o600}
    store = Store.open(made)
    store.put("k", b"content")
    assert store.get("k") == get(server, "a/b/k") == b"content"
    assert store.conditional() is isinstance(server, Moto)
    with pytest.raises(Absent):
        store.get("other")


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_tls(kind: str, place: Path, clean: pytest.MonkeyPatch) -> None:
    """With TLS the server is reached by who trusts its authority, and only by them."""
    made = SERVERS[kind](f"{kind}-tls", place, Authority(place))
    with running(made):
        made.start()
        made.until_ready()
        made.bucket("here")
        Store.open(made.folder(place / "trusting", "s3://here/a")).put("k", b"x")
        clean.setattr(boto3, "DEFAULT_SESSION", None)
        with pytest.raises(Unanswered):
            Store.open(made.folder(place / "not", "s3://here/a", more={"AWS_CA_BUNDLE": ""}), attempts=1).get("k")


def test_rclone_keeps(place: Path) -> None:
    """Objects and credentials of rclone survive a kill and a start, and the secret is not on its command line."""
    made = Rclone("rclone-kept", place)
    with running(made):
        made.start()
        made.until_ready()
        made.bucket("here")
        put(made, "kept", b"content")
        assert made.key.secret not in Path(f"/proc/{made.pid}/cmdline").read_text()
        made.kill()
        made.start()
        made.until_ready()
        assert get(made, "kept") == b"content"


def test_less_privileged(moto: Moto) -> None:
    """A user of moto may do what the policy says and nothing else."""
    reader = moto.user("s3:GetObject", "s3:ListBucket")
    put(moto, "read", b"x")
    assert moto.client(reader).get_object(Bucket="here", Key="read")["Body"].read() == b"x"
    assert code(moto.client(reader).put_object, Bucket="here", Key="read", Body=b"y") == "AccessDenied"


def test_web_identity(moto: Moto, place: Path, clean: pytest.MonkeyPatch) -> None:
    """A role is taken with a web identity, through the STS of moto, and its policy decides."""
    (place / "token").write_text("a token")
    nobody = Key("", "")
    more = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(place / "token"), "AWS_ENDPOINT_URL_STS": moto.url}
    writer = moto.folder(place / "writer", "s3://here/web", nobody, {**more, "AWS_ROLE_ARN": moto.role("s3:*")})
    Store.open(writer, attempts=1).put("k", b"x")
    clean.setattr(boto3, "DEFAULT_SESSION", None)
    reader = moto.folder(place / "reader", "s3://here/web", nobody, {**more, "AWS_ROLE_ARN": moto.role("s3:GetObject")})
    assert Store.open(reader, attempts=1).get("k") == b"x"
    with pytest.raises(Denied):
        Store.open(reader, attempts=1).put("k", b"y")


def test_metadata(moto: Moto, place: Path, clean: pytest.MonkeyPatch) -> None:
    """An instance's role is found through the metadata service, which wants a session token."""
    metadata = Metadata(moto.assume(moto.role("s3:*")))
    more = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url}
    try:
        store = Store.open(moto.folder(place / "env", "s3://here/instance", Key("", ""), more), attempts=1)
        store.put("k", b"x")
    finally:
        metadata.stop()
    assert get(moto, "instance/k") == b"x"


def test_passes(proxy: FaultProxy) -> None:
    """Without a fault everything passes, large bodies and multipart uploads too, and is counted."""
    large = bytes(range(256)) * 50_000
    put(proxy, "large", large)
    assert get(proxy, "large") == large
    assert proxy.client().list_objects_v2(Bucket="here", Prefix="large")["KeyCount"] == 1
    assert proxy.client().head_object(Bucket="here", Key="large")["ContentLength"] == len(large)
    client = proxy.client()
    upload = client.create_multipart_upload(Bucket="here", Key="parts")["UploadId"]
    tags = [client.upload_part(Bucket="here", Key="parts", UploadId=upload, PartNumber=number, Body=large)["ETag"] for number in (1, 2)]
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
    client.complete_multipart_upload(Bucket="here", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    assert get(proxy, "parts") == 2 * large
    assert (proxy.count("PUT"), proxy.count("PUT", "here/large"), proxy.count(query="*list-type=2*")) == (3, 1, 1)


def test_error(proxy: FaultProxy) -> None:
    """An error is answered as often as it was said, to those requests only, and the store sees nothing of them."""
    proxy.on(faultproxy.error(), method="PUT", key="here/some/*", times=2)
    client = proxy.client()
    found = [code(client.put_object, Bucket="here", Key="some/slow", Body=b"x") for _ in range(3)]
    assert found == ["SlowDown", "SlowDown", ""]
    assert code(client.put_object, Bucket="here", Key="another", Body=b"x") == ""
    assert [one.fault for one in proxy.requests] == ["error", "error", "", ""]
    proxy.on(faultproxy.error(403, "AccessDenied"))
    assert code(client.get_object, Bucket="here", Key="another") == "AccessDenied"
    proxy.heal()
    assert code(client.get_object, Bucket="here", Key="another") == ""


def test_delay(proxy: FaultProxy) -> None:
    """A delayed request is answered later, and as usual."""
    proxy.on(faultproxy.delay(0.7), times=1)
    start = time.monotonic()
    assert len(get(proxy)) == 100_000
    assert time.monotonic() - start >= 0.7


def test_cut(proxy: FaultProxy) -> None:
    """An answer that is cut off says its whole length and ends early; so reads the product's store as well."""
    proxy.on(faultproxy.cut(1000), method="GET", times=1)
    body = proxy.client().get_object(Bucket="here", Key="some/object")["Body"]
    with pytest.raises(botocore.exceptions.BotoCoreError):
        body.read()
    assert len(get(proxy)) == 100_000


@pytest.mark.parametrize("fault", [faultproxy.reset(0), faultproxy.reset(200_000)])
def test_reset(proxy: FaultProxy, fault: faultproxy.Fault) -> None:
    """A connection that is reset in the middle of an upload is an error, and leaves no object."""
    proxy.on(fault, method="PUT", times=1)
    key = f"some/reset-{fault.after}"
    with pytest.raises(botocore.exceptions.BotoCoreError):
        put(proxy, key, b"z" * 1_000_000)
    assert code(proxy.client().get_object, Bucket="here", Key=key) == "NoSuchKey"
    put(proxy, key, b"z")


def test_lose(proxy: FaultProxy) -> None:
    """When the answer is lost, the client sees an error and the object is there."""
    proxy.on(faultproxy.lose(), method="PUT", times=1)
    with pytest.raises(botocore.exceptions.BotoCoreError):
        put(proxy, "some/lost", b"z")
    assert get(proxy, "some/lost") == b"z"


def test_hang(proxy: FaultProxy) -> None:
    """A request that hangs ends with the client's patience, or when the proxy is healed."""
    proxy.on(faultproxy.hang(), method="GET")
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        get(proxy, read_timeout=0.5)
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            get(proxy)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: proxy.count("GET", fault="hang") == 2, 5, "the second request hangs")
    proxy.heal()
    thread.join(5)
    assert not thread.is_alive() and isinstance(ended[0], botocore.exceptions.HTTPClientError)
    assert len(get(proxy)) == 100_000


def test_refuse(proxy: FaultProxy) -> None:
    """Nobody listens while connections are refused, also for a client that was connected; afterwards all is as before."""
    client = proxy.client()
    client.head_bucket(Bucket="here")
    proxy.refuse()
    with pytest.raises(botocore.exceptions.BotoCoreError):
        client.head_bucket(Bucket="here")
    with pytest.raises(botocore.exceptions.EndpointConnectionError):
        get(proxy)
    proxy.accept()
    client.head_bucket(Bucket="here")
    assert len(get(proxy)) == 100_000
