"""The command `wal-e`: WAL-E with its cures, and exit codes that tell what happened."""

from __future__ import annotations

import logging
import os
import sys


def install() -> None:
    """Apply the cures: first what WAL-E's modules take over while they are imported, then what is replaced in them."""
    os.environ.setdefault("WALE_LOG_DESTINATION", "stderr")  # there is no syslog in a container
    logging.getLogger("botocore").setLevel(logging.WARNING)  # WAL-E shows what every library has to say
    from runtime.wale import failure, retries

    failure.install()
    retries.install()
    from runtime.wale import blobstore

    blobstore.install()
    from runtime.wale import offline, online, pipelines, prefetch, removal, restore

    for cure in (pipelines, prefetch, offline, online, restore, removal):
        cure.install()


def main() -> int:
    """Run WAL-E with the arguments of this process and return the exit code."""
    install()
    from wal_e import cmd

    from runtime.wale.failure import exit_code

    try:
        cmd.main()
    except SystemExit as end:
        command = next((word for word in sys.argv[1:] if word.startswith(("wal-", "backup-", "delete"))), "")
        return exit_code(command, end)
    return 0


if __name__ == "__main__":
    sys.exit(main())
