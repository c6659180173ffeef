"""The three roles of the appliance, with the passwords that the environment says.

Whether a password is right is found out by logging in with it, as a client would; only what differs is changed, and
what is sent to the server is the SCRAM verifier, so that no log and no statistics can hold the password.
"""

from __future__ import annotations

import psycopg2
import psycopg2.extensions
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from runtime.log import Log
from runtime.spec import Role, Spec

RIGHTS = {
    "superuser": "LOGIN SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS",
    "standby": "LOGIN NOSUPERUSER REPLICATION",
    "admin": "LOGIN NOSUPERUSER CREATEDB CREATEROLE",
}
# What people who run a database need to see and stop, short of being superuser.
ADMIN_MEMBERSHIPS = ("pg_monitor", "pg_signal_backend")


def local(spec: Spec, database: str = "postgres") -> psycopg2.extensions.connection:
    """A superuser connection over the unix socket. Its commits do not wait for replicas: roles must be settable when
    the only replica is the one that waits for its password."""
    connection = psycopg2.connect(host=spec.sockets, port=spec.port, user=spec.roles["superuser"].name, dbname=database,
                                  connect_timeout=3, application_name="spilo steward",
                                  options="-c synchronous_commit=local -c statement_timeout=10s")
    connection.autocommit = True
    return connection


def accepts(spec: Spec, role: Role) -> bool:
    """Whether the server accepts this role's password, over TLS as from outside."""
    try:
        psycopg2.connect(host="127.0.0.1", port=spec.port, user=role.name, password=role.password, dbname="postgres",
                         sslmode="require", connect_timeout=3, application_name="spilo steward").close()
    except psycopg2.OperationalError as error:
        if "authentication failed" in str(error) or "not permitted to log in" in str(error):
            return False
        raise
    return True


def apply(spec: Spec, log: Log) -> None:
    """Make the roles what they have to be; raises psycopg2.Error when the server is not (or no longer) a primary."""
    connection = local(spec)
    try:
        with connection.cursor() as cursor:
            for kind, role in spec.roles.items():
                cursor.execute("SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = %s", (role.name,))
                found = cursor.fetchone()
                if found is None:
                    cursor.execute(sql.SQL("CREATE ROLE {} " + RIGHTS[kind]).format(sql.Identifier(role.name)))
                    if kind == "admin":
                        for group in ADMIN_MEMBERSHIPS:
                            grant = sql.SQL("GRANT {} TO {} WITH ADMIN OPTION")
                            cursor.execute(grant.format(sql.Identifier(group), sql.Identifier(role.name)))
                    log.info("role created", role=role.name, rights=RIGHTS[kind])
                if found != (True,) or not accepts(spec, role):
                    verifier = encrypt_password(role.password, role.name, connection, "scram-sha-256")
                    alter = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
                    cursor.execute(alter.format(sql.Identifier(role.name), sql.Literal(verifier)))
                    log.info("password set", role=role.name)
    finally:
        connection.close()
