"""Patroni, started with two corrections.

Passwords are quoted in UTF-8. Patroni sets the superuser's and the replication role's password in a new cluster with
`quote_literal`, which asks psycopg2 to quote without a connection; psycopg2 then assumes Latin-1, and any other
character ends the bootstrap.

A PostgreSQL that shuts down is looked at ten times a second. Patroni looks once a second, and each planned change of
the primary waits for it.

Nothing else is imported at the top: Patroni starts PostgreSQL through a fresh interpreter that loads this module again.
"""

from __future__ import annotations

import sys

from runtime.tool import tool


def command(config: str) -> tuple[str, ...]:
    """Command line of Patroni; `config` is its configuration file."""
    return tool("runtime.patroni", config)


def main() -> None:
    import patroni.postgresql
    import psycopg2.extensions
    from patroni.__main__ import main as govern

    def quoted(text: str) -> psycopg2.extensions.QuotedString:
        literal = psycopg2.extensions.QuotedString(text)
        literal.encoding = "utf8"
        return literal

    psycopg2.extensions.register_adapter(str, quoted)
    patroni.postgresql.STOP_POLLING_INTERVAL = 0.1
    sys.argv[0] = "patroni"
    govern()


if __name__ == "__main__":
    main()
