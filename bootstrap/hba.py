"""Judges the lines of pg_hba.conf in SPILO_CONFIGURATION (PostgreSQL documentation, "The pg_hba.conf File").

Two things count: nothing crosses the network in the clear, and nobody gets in without proof. A line that PostgreSQL
would not understand is refused as well, because it would refuse the whole file and not start.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

HOST = ("host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
METHODS = ("scram-sha-256", "cert", "gss", "ldap", "pam", "radius", "reject")
OPTION = re.compile("(map|clientcert|clientname|pamservice|pam_use_hostname|include_realm|krb_realm|ldap[a-z]+|"
                    "radius[a-z]+)=")
_TOKEN = re.compile(r'(?:[^\s",#]|"[^"]*"|,\s*)+|#.*|"')


def tokens(line: str) -> list[str]:
    """The fields of one line, quotes kept, comments left out; ValueError where a quote is not closed."""
    found = [token.strip(", \t") for token in _TOKEN.findall(line) if not token.startswith("#")]
    if '"' in found:
        raise ValueError("close the quote")
    return [token for token in found if token]


def _names(field: str) -> list[str]:
    """The names in a field; only a name in quotes from its first letter on is no keyword."""
    return [name.strip() if name.strip().startswith('"') else name.strip().replace('"',
                                                                                   "") for name in field.split(",")]


def unsafe(line: str, plain: bool) -> str | None:
    """Why a line is refused, as a fix, or None. `plain`: clients may connect without TLS (ALLOW_NOSSL)."""
    if re.search(r"[\r\n\0]|\\\s*$", line):
        return "write one line an entry, without a line break or a backslash at its end"
    try:
        words = tokens(line)
        return _refusal(words, plain) if words else None
    except ValueError as error:
        return str(error)


def _refusal(words: list[str], plain: bool) -> str | None:
    kind = words[0]
    if kind == "local":
        return "local connections are decided by the appliance (peer); remove the line"
    if kind not in HOST:
        return "start the line with hostssl"
    if len(words) < 5:
        return "give type, database, user, address and method"
    databases, users, (method, *options) = _names(words[1]), _names(words[2]), _behind_address(words[3:])
    if any(name.startswith("@") for name in databases + users):
        return "name databases and users in the line itself, not in a file (@)"
    strange = next((option for option in options if not OPTION.match(option)), None)
    if strange:
        return f"give one method, and after it only PostgreSQL's options as name=value, not {strange.partition('=')[0]}"
    return None if method == "reject" else _weak(kind, databases, method, plain)


def _weak(kind: str, databases: list[str], method: str, plain: bool) -> str | None:
    """Why those whom a line lets in would come without proof or in the clear, as a fix, or None."""
    if method not in METHODS:
        return f"use scram-sha-256 or cert instead of {method}"
    if kind == "hostssl":
        return None
    if not plain:
        return "use hostssl, so that nothing crosses the network in the clear (clients without TLS: ALLOW_NOSSL)"
    if "replication" in databases:
        return "use hostssl, replication is always encrypted"
    return "use hostssl, only there a client shows a certificate" if method == "cert" else None


def _behind_address(words: list[str]) -> list[str]:
    """Method and options: what follows the address, and its mask where it has one; ValueError for a wrong address."""
    address = words[0].strip('"')
    try:
        if re.search(r"/[0-9]+$", address):
            ipaddress.ip_interface(address)
            return words[1:]
        ipaddress.ip_address(address)
    except ValueError:
        if not re.fullmatch(r"\.?[A-Za-z0-9_][A-Za-z0-9_.-]*", address):
            raise ValueError(f"give an address, a network or a host name instead of {address}") from None
        return words[1:]
    length = 32 if "." in address else 128
    try:
        ipaddress.ip_address(words[1])
    except ValueError:
        raise ValueError(f"give the network as {address}/{length}") from None
    if len(words) < 3:
        raise ValueError("give a method")
    return words[2:]


def problems(value: object, plain: bool) -> Iterator[tuple[str, str]]:
    """(what was given, fix) for each line that is refused. Values of options can be secrets and are not shown."""
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        yield type(value).__name__, "give a list of lines, each a text"
        return
    for line in value:
        fix = unsafe(line, plain)
        if fix:
            yield repr(re.sub(r'=("[^"]*"?|\S+)', "=...", line)), fix
