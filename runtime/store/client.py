"""The object store: S3 through boto3, configured by a folder of environment variables (envdir), one prefix each."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import envdir
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from runtime.store.errors import PASSING, Denied, Exists, StoreError, Unanswered, explained
from runtime.store.stream import Stream

PART = 16 << 20  # bytes in a part of a multipart upload; S3 wants at least 5 MiB, and at most 10,000 parts
CANARY = "spilo_005/canary/"  # objects that only try the store out
# Variables that decide where and as whom the store is used. What the folder does not say is not taken from elsewhere.
OURS = ("AWS_", "WALE_", "WALG_")


@dataclass(frozen=True)
class Object:
    """An object: `key` below the prefix, `size` in bytes, `modified` in seconds since the epoch."""

    key: str
    size: int
    modified: float
    etag: str


def _endpoint(spelled: str | None) -> tuple[str | None, str]:
    """(URL, addressing style) from WAL-E's spelling `SCHEME+STYLE://HOST:PORT`; (None, "auto") for AWS itself."""
    if not spelled:
        return None, "auto"
    scheme, _, rest = spelled.partition("://")
    protocol, _, style = scheme.partition("+")
    return f"{protocol}://{rest}", "virtual" if style in ("virtualhost", "subdomain") else "path"


def enter(folder: Path) -> None:
    """Take the variables of `folder` into this process's environment, in place of any others of their kind."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    envdir.open(str(folder))


class Store:
    """The objects below one prefix of a bucket. Safe for threads. Keys are relative to the prefix."""

    def __init__(self, url: str, timeout: float, attempts: int) -> None:
        split = urlsplit(url)
        if split.scheme != "s3" or not split.netloc:
            raise Denied(f"WALE_S3_PREFIX is {url!r}, not of the form s3://BUCKET/PATH")
        self.bucket, self.prefix, self.url = split.netloc, split.path.strip("/"), url.rstrip("/")
        endpoint, style = _endpoint(os.environ.get("WALE_S3_ENDPOINT"))
        required: Any = {"request_checksum_calculation": "when_required",  # newer checksums are AWS's own
                         "response_checksum_validation": "when_required"} if endpoint else {}
        with explained("S3 client"):
            self.client: Any = boto3.Session().client(
                "s3", endpoint_url=endpoint,
                region_name=os.environ.get("AWS_REGION") or ("us-east-1" if endpoint else None),
                config=Config(s3={"addressing_style": style}, max_pool_connections=64, tcp_keepalive=True,
                              connect_timeout=min(5, timeout), read_timeout=timeout,
                              retries={"total_max_attempts": attempts, "mode": "standard"}, **required))
        encryption = os.environ.get("WALE_S3_SSE") or ("none" if endpoint else "AES256")
        self._extra = {} if encryption == "none" else {"ServerSideEncryption": encryption}
        if key := os.environ.get("WALE_S3_SSE_KMS_ID"):
            self._extra["SSEKMSKeyId"] = key
        self._conditional: bool | None = None

    @classmethod
    def open(cls, folder: Path | None = None, *, timeout: float = 20.0, attempts: int = 4) -> Store:
        """The store that `folder` (None: the environment) describes; `timeout` in seconds for an answer, after so many
        `attempts`. Asks nothing of the store. Raises Denied where the configuration cannot be one."""
        if folder is not None:
            enter(folder)
        return cls(os.environ.get("WALE_S3_PREFIX", ""), timeout, attempts)

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._full(key)}

    def _full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def put(self, key: str, body: bytes | memoryview | list[bytes], *, new: bool = False) -> None:
        """Write an object. `new`: raises Exists where there is one, if the store can tell (see `conditional`)."""
        data = b"".join(body) if isinstance(body, list) else bytes(body)
        condition = {"IfNoneMatch": "*"} if new else {}
        with explained(f"put {key}"):
            self.client.put_object(**self._at(key), Body=data, **self._extra, **condition)

    def get(self, key: str) -> bytes:
        """The whole object; raises Absent."""
        with self.stream(key) as body:
            return body.read()

    def stream(self, key: str) -> Stream:
        """The object as a file to read from; raises Absent here, not later."""
        return Stream(key, functools.partial(self.client.get_object, **self._at(key)))

    def size(self, key: str) -> int:
        """The object's size in bytes; raises Absent. Not by HEAD, which cannot tell a missing key from a missing bucket."""
        with self.stream(key) as body:
            return body.length

    def upload(self, key: str, chunks: Iterable[bytes], *, part: int = PART) -> int:
        """Write an object of unknown length, in parts of `part` bytes, about two of which are in memory at any time; nothing
        is there before all of it is. Returns its bytes."""
        parts = _parts(chunks, part)
        first = next(parts, b"")
        second = next(parts, None)
        if second is None:
            self.put(key, first)
            return len(first)
        with explained(f"put {key}"):
            upload = self.client.create_multipart_upload(**self._at(key), **self._extra)["UploadId"]
        try:
            sending = itertools.chain([first, second], parts)
            del first, second  # not to be held until the last one is sent
            return self._upload_parts(key, upload, sending)
        except BaseException:
            with contextlib.suppress(ClientError, BotoCoreError, OSError):
                self.client.abort_multipart_upload(**self._at(key), UploadId=upload)
            raise

    def _upload_parts(self, key: str, upload: str, parts: Iterator[bytes]) -> int:
        done: list[dict[str, Any]] = []
        total = 0
        for number, data in enumerate(parts, 1):
            with explained(f"put {key} part {number}"):
                answer = self.client.upload_part(**self._at(key), UploadId=upload, PartNumber=number, Body=data)
            done.append({"PartNumber": number, "ETag": answer["ETag"]})
            total += len(data)
        with explained(f"put {key}"):
            self.client.complete_multipart_upload(**self._at(key), UploadId=upload, MultipartUpload={"Parts": done})
        return total

    def list(self, prefix: str = "", *, after: str = "") -> Iterator[Object]:
        """The objects whose key begins with `prefix`, in order, those behind `after` only."""
        start = {"StartAfter": self._full(after)} if after else {}
        with explained(f"list {prefix}"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._full(prefix), **start)
            for page in pages:
                for one in page.get("Contents", []):
                    yield Object(one["Key"][len(self._full("")):], one["Size"], one["LastModified"].timestamp(),
                                 one.get("ETag", "").strip('"'))

    def folders(self, prefix: str) -> Sequence[str]:
        """The folders right below `prefix` (which ends in /), each with a / at its end."""
        with explained(f"list {prefix}"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._full(prefix), Delimiter="/")
            return [one["Prefix"][len(self._full("")):] for page in pages for one in page.get("CommonPrefixes", [])]

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there count as deleted. Raises where one stayed."""
        everything = [*keys]
        for start in range(0, len(everything), 1000):  # as many as one request takes
            some = everything[start : start + 1000]
            with explained(f"delete {some[0]}"):
                answer = self.client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": self._full(key)} for key in some], "Quiet": True})
            for one in answer.get("Errors", []):
                kind = Unanswered if one.get("Code") in PASSING else Denied
                raise kind(f"delete {one.get('Key')}: {one.get('Code')} {one.get('Message')}")

    def conditional(self) -> bool:
        """Whether the store refuses to overwrite when told to; tried once, with an object of ours."""
        if self._conditional is None:
            with self._canary() as key:
                self.put(key, b"1")
                try:
                    self.put(key, b"2", new=True)
                    self._conditional = False
                except Exists:
                    self._conditional = True
                except Denied:  # "not implemented" and the like
                    self._conditional = False
        return self._conditional

    def probe(self) -> str:
        """Put, get and delete an object of ours; raises StoreError. Says in a few words what was seen."""
        start = time.monotonic()
        content = uuid.uuid4().bytes
        with self._canary() as key:
            self.put(key, content)
            if self.get(key) != content:
                raise Denied(f"get {key}: it is not what was put a moment ago")
        return f"put, get and delete of an object took {time.monotonic() - start:.2f}s"

    @contextlib.contextmanager
    def _canary(self) -> Iterator[str]:
        key = f"{CANARY}{uuid.uuid4().hex}"
        try:
            yield key
        except StoreError:
            with contextlib.suppress(StoreError):
                self.delete([key])
            raise
        self.delete([key])


def _parts(chunks: Iterable[bytes], part: int = PART) -> Iterator[bytes]:
    """The chunks gathered into parts of so many bytes and one rest."""
    waiting: list[bytes] = []
    have = 0
    for chunk in chunks:
        waiting.append(chunk)
        have += len(chunk)
        if have >= part:
            whole = b"".join(waiting)
            yield whole[:part]
            waiting, have = [whole[part:]], have - part
    if have:
        yield b"".join(waiting)
