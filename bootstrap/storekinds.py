"""Kinds of values that object stores, schedules and recovery targets have; bootstrap/kinds.py has the others."""

from __future__ import annotations

import datetime
import re
from urllib.parse import urlsplit

from cronsim import CronSim, CronSimError

from bootstrap.kinds import Kind, host_name, integer, require


def _bucket(text: str) -> str:
    require(re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text))
    return text


def _key_part(text: str) -> str:
    require(re.fullmatch(r"[A-Za-z0-9!_.*'()/-]*", text) and "//" not in text and ".." not in text)
    return text


def _s3_url(text: str) -> str:
    match = re.fullmatch(r"s3://([^/]+)/([^/].*?)/*", text)
    require(match)
    assert match is not None
    return f"s3://{_bucket(match[1])}/{_key_part(match[2])}"


def _http_url(text: str) -> str:
    parts = urlsplit(text.strip())
    require("@" not in parts.netloc, "it has a user name")
    require(parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment)
    host_name(str(parts.hostname))
    require(parts.port != 0)
    return text.strip().rstrip("/")


def _wale_endpoint(text: str) -> str:
    match = re.fullmatch(r"(https?)\+(path|virtualhost|subdomain)(://.+)", text.strip())
    require(match)
    assert match is not None
    _http_url(match[1] + match[3])
    return text.strip().rstrip("/")


def _cron(text: str) -> str:
    if text.strip() == "never":
        return "never"
    try:
        CronSim(text, datetime.datetime.now(datetime.UTC))
    except CronSimError as error:
        raise ValueError(f"it is no schedule: {error}") from None
    return " ".join(text.split())


def _moment(text: str) -> str:
    moment = datetime.datetime.fromisoformat(text.strip())
    require(moment.tzinfo is not None, "it has no time zone")
    return moment.isoformat(sep=" ")


def _lsn(text: str) -> str:
    require(re.fullmatch(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}", text.strip()))
    return text.strip().upper()


def _timeline(text: str) -> str:
    text = text.strip()
    require(text == "latest" or re.fullmatch(r"[1-9][0-9]{0,9}|0x[0-9A-Fa-f]{1,8}", text))
    return text if text == "latest" else str(int(text, 0))


def _count(text: str) -> int:
    number = integer(text)
    require(number >= 1)
    return number


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15}) ?([kMG]?)i?B?", text.strip())
    require(match)
    assert match is not None
    return int(match[1]) << {"": 0, "k": 10, "M": 20, "G": 30}[match[2]]


def _slot(text: str) -> str:
    require(re.fullmatch(r"[a-z0-9_]{1,63}", text))
    return text


BUCKET = Kind("the name of a bucket", _bucket)
KEY_PART = Kind("characters that keys of objects may have: A-Z a-z 0-9 _ . - / and few others", _key_part)
S3_URL = Kind("s3://BUCKET/PATH", _s3_url)
HTTP_URL = Kind("http://HOST:PORT or https://HOST:PORT", _http_url)
WALE_ENDPOINT = Kind("http+path://HOST:PORT or https+virtualhost://HOST:PORT", _wale_endpoint)
CRON = Kind("five fields of cron, such as `0 1 * * *`, or `never`", _cron)
MOMENT = Kind("a time with its zone, such as 2026-01-31 13:45:00+00:00", _moment)
LSN = Kind("a position in the WAL, such as 0/3000028", _lsn)
TIMELINE = Kind("`latest`, or the number of a timeline", _timeline)
COUNT = Kind("a whole number, 1 or more", _count)
BYTES = Kind("a number of bytes, also with kB, MB or GB", _bytes)
SLOT = Kind("a name of a replication slot: a-z 0-9 _", _slot)
