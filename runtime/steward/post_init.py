"""Patroni calls this once in a cluster's life, right after initdb, before anybody else can connect."""

from __future__ import annotations

import shlex
import sys

from psycopg2 import sql

from runtime.log import Log
from runtime.spec import load
from runtime.steward import roles
from runtime.tool import tool
from runtime.trouble import run

LOG = Log("post_init")


def command(spec: str) -> str:
    """Command line, to which Patroni adds a connection string that we do not need."""
    return shlex.join(tool("runtime.steward.post_init", spec))


def main() -> None:
    """Create the roles, and the statistics extension in every database that is and will be."""
    spec = load(sys.argv[1])
    roles.apply(spec, LOG)
    for database in ("template1", "postgres"):
        connection = roles.local(spec, database)
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            if database == "postgres":  # where people land first, so that their first CREATE TABLE works
                cursor.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(spec.roles["admin"].name)))
        connection.close()


if __name__ == "__main__":
    sys.exit(run(main, LOG))
