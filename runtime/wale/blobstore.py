"""WAL-E's S3 storage on runtime.store, in place of its own on boto 2, which knows neither today's credentials nor TLS.

This module takes the name `wal_e.blobstore.s3`: its functions have the names and parameters that WAL-E calls. What asks
the store does so in a thread, so that gevent's greenlets go on meanwhile; nothing of Python's is patched for that.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, BinaryIO, ParamSpec, TypeVar
from urllib.parse import urlsplit

import gevent
import wal_e.blobstore
from wal_e import files, log_help

from runtime import lzop
from runtime.log import timestamp
from runtime.store import Store, StoreError
from runtime.trouble import Exit
from runtime.wale import archive
from runtime.wale.failure import Failure, of_store
from runtime.wale.retries import retry

LOG = log_help.WalELogger(__name__)
TIMEOUT, ATTEMPTS = 20.0, 4  # of one request; WAL-E's own retries come on top
THREADS = 40  # requests at the same time; wal-push sends up to 32 segments
CHUNK = 1 << 20
P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def store_of(bucket: str) -> Store:
    """The whole bucket; WAL-E spells keys out from there."""
    gevent.get_hub().threadpool.maxsize = THREADS
    return Store(f"s3://{bucket}", TIMEOUT, ATTEMPTS)


def ask(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `call` says, made in a thread; what the store says against it is a Failure."""
    def answer() -> tuple[R | None, Exception | None]:
        try:
            return call(*args, **kwargs), None
        except Exception as error:  # as a value, because gevent prints the traceback of what a thread raises
            return None, error

    said, error = gevent.get_hub().threadpool.apply(answer)
    if error is not None:
        raise of_store(error) if isinstance(error, StoreError) else error
    return said  # type: ignore[no-any-return]


def split(url: str) -> tuple[Store, str]:
    """(store, key) of s3://BUCKET/KEY."""
    parts = urlsplit(url)
    return opened(parts.netloc), parts.path.lstrip("/")


def opened(bucket: str) -> Store:
    try:
        return store_of(bucket)
    except StoreError as error:
        raise of_store(error) from None


class Key:
    """An object, as WAL-E handles it."""

    def __init__(self, bucket: Bucket, name: str, size: int = 0, modified: float = 0.0) -> None:
        self.bucket, self.name, self.size = bucket, name, size
        self.last_modified = timestamp(modified)

    def get_contents_as_string(self) -> bytes:
        return ask(self.bucket.store.get, self.name)


class Bucket:
    """A bucket, as WAL-E handles it."""

    def __init__(self, name: str) -> None:
        self.name, self.store = name, opened(name)

    def get_key(self, name: str) -> Key:
        return Key(self, name)

    def delete_keys(self, names: list[str]) -> None:
        ask(self.store.delete, names)

    def list(self, prefix: str = "") -> Iterator[Key]:
        try:
            for one in self.store.list(prefix):
                yield Key(self, one.key, one.size, one.modified)
        except StoreError as error:
            raise of_store(error) from None


class Connection:
    """Where buckets come from. There is no connection: a Store has its own."""

    def get_bucket(self, name: str, validate: bool = False) -> Bucket:
        return Bucket(name)


calling_format = SimpleNamespace(
    from_store_name=lambda name, region=None: SimpleNamespace(connect=lambda creds: Connection()))


def sigv4_check_apply() -> None:
    """WAL-E asks here whether signatures can be made; boto3 knows."""


def uri_put_file(creds: object, url: str, file: BinaryIO, content_type: str | None = None, conn: object = None) -> Key:
    """Write an object: WAL only where it replaces nothing else, all the rest in parts of bounded size."""
    store, key = split(url)
    if archive.is_wal(key):
        size = ask(archive.put, store, key, file.read())
    else:
        size = ask(store.upload, key, iter(functools.partial(file.read, CHUNK), b""))
    return Key(Bucket(store.bucket), key, size)


def uri_get_file(creds: object, url: str, conn: object = None) -> bytes:
    """The whole object."""
    store, key = split(url)
    return ask(store.get, key)


def do_lzop_get(creds: object, url: str, path: str, decrypt: bool, do_retry: bool = True) -> bool:
    """Fetch a file of WAL to `path`. False only where the store itself said that it has no such object."""
    store, key = split(url)

    def fetch() -> bytes:
        try:
            return lzop.unpack(store.get(key))
        except lzop.Corrupt as error:
            raise Failure(Exit.REFUSED, "the file in the archive is damaged", f"{url}: {error}") from None

    try:
        content = retry()(ask)(fetch) if do_retry else ask(fetch)
    except Failure as failure:
        if failure.code is not Exit.ABSENT:
            raise
        LOG.info(msg="the archive has no such file", detail=failure.detail,
                 hint="This is normal at the end of recovery, and where PostgreSQL looks for timelines.")
        return False
    with files.DeleteOnError(path) as out:
        out.f.write(content)
    return True


def write_and_return_error(key: Key, stream: Any) -> Exception | None:
    """Copy an object into a pipe; the error is the result because it happens in a greenlet of its own."""
    try:
        body = ask(key.bucket.store.stream, key.name)
        while chunk := ask(body.read, CHUNK):
            stream.write(chunk)
        stream.flush()
    except Exception as error:
        return error
    finally:
        stream.close()
    return None


def credentials(arguments: Any = None) -> None:
    """boto3 finds credentials by itself; the one that WAL-E has an option for counts most, as ever."""
    if arguments is not None and arguments.aws_access_key_id:
        os.environ["AWS_ACCESS_KEY_ID"] = arguments.aws_access_key_id


def install() -> None:
    """To be called before wal_e.cmd is imported."""
    sys.modules["wal_e.blobstore.s3"] = sys.modules[__name__]
    wal_e.blobstore.s3 = sys.modules[__name__]
    from wal_e import cmd

    cmd.s3_explicit_creds = credentials
    cmd.s3_instance_profile = credentials
