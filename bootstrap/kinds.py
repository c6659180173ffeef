"""What a setting's value may be: each kind turns the text of an environment variable into a value.

A parser raises `ValueError` with a phrase that completes "expected ..."; nothing is ever guessed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml


class Secret:
    """A text that does not show itself when printed, formatted or represented; `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True)
class Kind:
    """A named parser; `expects` completes "expected ..." in an error and stands in docs/settings.md."""

    expects: str
    parse: Callable[[str], Any]

    def __call__(self, text: str) -> Any:
        try:
            return self.parse(text)
        except (ValueError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            raise ValueError(f"{self.expects}{f' ({reason})' if reason.startswith('it ') else ''}") from None


@dataclass(frozen=True)
class Endpoint:
    """Where an etcd listens: a DNS name or an address, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def require(condition: object, reason: str = "") -> None:
    if not condition:
        raise ValueError(reason)


def _text(text: str) -> str:
    require("\n" not in text and "\0" not in text, "it has a line break")
    return text


def _scope(text: str) -> str:
    require(re.fullmatch(r"[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?", text))
    return text


def _member(text: str) -> str:
    require(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", text))
    return text


def _namespace(text: str) -> str:
    require(re.fullmatch(r"/?[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*/?", text))
    return text.strip("/")


def _role(text: str) -> str:
    require(re.fullmatch(r"[a-z_][a-z0-9_$-]{0,62}", text) and not text.startswith("pg_"))
    return text


def integer(text: str) -> int:
    require(re.fullmatch(r"[0-9]{1,9}", text))
    return int(text)


def _port(text: str) -> int:
    number = integer(text)
    require(1 <= number <= 65535)
    return number


def _flag(text: str) -> bool:
    words = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
    require(text.strip().lower() in words)
    return words[text.strip().lower()]


def _path(text: str) -> str:
    require(re.fullmatch(r"""/[^\s\0"'\\#;$]*""", text))
    return text.rstrip("/") or "/"


def host_name(text: str) -> str:
    """A DNS name or an IP address, or ValueError."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        name = text.rstrip(".")
        require(len(name) <= 253 and not re.fullmatch(r"[0-9]+(\.[0-9]+)+", name))  # 300.0.0.1 is no name
        require(all(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", part) for part in name.split(".")))
        return name


def _address(text: str) -> str:
    require("://" not in text and (text.startswith("[") or text.count(":") < 2))
    endpoint(text)
    return text.strip()


def endpoint(text: str, default_port: int = 2379) -> Endpoint:
    """`host`, `host:port`, `v6`, `[v6]:port` or a URL of those, or ValueError."""
    text = text.strip()
    if "://" in text:
        text = urlsplit(text).netloc
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    match = re.fullmatch(r"(\[[^\]]+\]|[^:]+)(?::([0-9]+))?", text)
    require(match)
    assert match is not None
    return Endpoint(host_name(match[1]), _port(match[2]) if match[2] else default_port)


def _endpoints(text: str) -> tuple[Endpoint, ...]:
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError:  # such as [::1]:2379,[::2]:2379
        loaded = text
    parts = [str(part) for part in loaded] if isinstance(loaded, list) else text.split(",")
    require(parts)
    return tuple(_endpoint(part.strip().strip("'\"")) for part in parts)


def _endpoint(text: str) -> Endpoint:
    require("://" not in text, "it is a URL; use ETCD_URL, or add ETCD_PROTOCOL and leave http:// or https:// out")
    return endpoint(text)


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(host_name(part.strip()) for part in text.split(","))


def _etcd_url(text: str) -> str:
    parts = urlsplit(text.strip())
    require("@" not in parts.netloc, "it has a user name; use ETCD_USERNAME and ETCD_PASSWORD")
    require(parts.scheme in ("http", "https") and parts.path in ("", "/") and not parts.query and not parts.fragment)
    endpoint(parts.netloc)
    return text.strip().rstrip("/")


def _mapping(text: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise ValueError(f"it is no YAML at {where}: {getattr(error, 'problem', error)}") from None
    require(loaded is None or isinstance(loaded, dict), "it is YAML, but no mapping")
    return loaded or {}


def _secret(text: str) -> Secret:
    require(text, "it is empty")
    require("\n" not in text and "\r" not in text, "it has a line break")
    require("\0" not in text, "it has a zero byte")
    text.encode("utf-8")
    return Secret(text)


def _http_secret(text: str) -> Secret:
    require(re.fullmatch(r"[ -~]+", text), "it has a character that HTTP clients spell differently")
    return Secret(text)


def _cluster_secret(text: str) -> Secret:
    _secret(text)
    require(len(text) >= 16, f"it has {len(text)} characters")
    return Secret(text)


def _pem(label: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        require(re.search(rf"-----BEGIN [A-Z ]*{label}-----.+-----END [A-Z ]*{label}-----", text, re.DOTALL))
        return text.strip() + "\n"

    return parse


def _pem_secret(text: str) -> Secret:
    return Secret(_pem("PRIVATE KEY")(text))


def _locale(text: str) -> str:
    require(re.fullmatch(r"[A-Za-z]{1,8}([_-][A-Za-z0-9]{1,8})*(\.(UTF-?8|utf-?8))?", text))
    return text


def choice(*words: str) -> Kind:
    """One of the given words, exactly."""

    def parse(text: str) -> str:
        require(text in words)
        return text

    return Kind("one of " + ", ".join(f"`{word}`" for word in words), parse)


TEXT = Kind("a text of one line", _text)
SCOPE = Kind("1 to 63 of a-z 0-9 _ . - that start and end with a letter or a digit", _scope)
MEMBER = Kind("1 to 63 of A-Z a-z 0-9 _ . - that start and end with a letter or a digit", _member)
NAMESPACE = Kind("words of A-Z a-z 0-9 _ - joined by /", _namespace)
ROLE = Kind("a role name: a-z 0-9 _ $ -, at most 63, not starting with pg_", _role)
INTEGER = Kind("a whole number", integer)
PORT = Kind("a port, 1 to 65535", _port)
FLAG = Kind("true or false (also on/off, yes/no, 1/0)", _flag)
PATH = Kind("an absolute path without spaces, quotes or any of \\ # ; $", _path)
ADDRESS = Kind("a host name or address, with :PORT if it is not the default", _address)
ENDPOINT = Kind("a host name or address, with :PORT if it is not 2379", _endpoint)
ENDPOINTS = Kind("host:port, several separated by commas", _endpoints)
ETCD_URL = Kind("http://HOST:PORT or https://HOST:PORT", _etcd_url)
HOST = Kind("a DNS name", host_name)
HOSTS = Kind("DNS names or addresses, separated by commas", _hosts)
MAPPING = Kind("a YAML mapping", _mapping)
SECRET = Kind("a text of one line, not empty, in UTF-8", _secret)
HTTP_SECRET = Kind("a text of one line of printable ASCII characters", _http_secret)
CLUSTER_SECRET = Kind("a text of one line, 16 characters or more (make one: openssl rand -hex 32)", _cluster_secret)
CERTIFICATE = Kind("a PEM certificate (BEGIN CERTIFICATE)", _pem("CERTIFICATE"))
CRL = Kind("a PEM revocation list (BEGIN X509 CRL)", _pem("X509 CRL"))
PRIVATE_KEY = Kind("a PEM private key (BEGIN PRIVATE KEY)", _pem_secret)
LOCALE = Kind("C.UTF-8, or a language such as en_US or de-CH (ICU)", _locale)
