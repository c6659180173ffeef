"""Certificates: the member's own, and our copies of those given as files."""

from __future__ import annotations

import datetime
from pathlib import Path

from runtime.log import Log
from runtime.spec import Spec


def refresh(spec: Spec, log: Log) -> bool:
    """Renew what ends soon and copy what changed. True if PostgreSQL and Patroni have to load certificates again."""
    from runtime.authority import renew, write  # slow to import, and not needed right after the boot

    changed = False
    for request in spec.certificates:
        if renew(request, spec.authority, datetime.datetime.now(datetime.UTC)):
            log.info("certificate renewed", path=request.path)
            changed = True
    for target, source in spec.watched.items():
        try:
            content = Path(source).read_bytes().strip() + b"\n"
        except OSError as error:
            log.warning("certificate file cannot be read, keeping the copy", path=source, error=error.strerror)
            continue
        if content != Path(target).read_bytes():
            write(Path(target), content, 0o600 if target.endswith(".key") else 0o644)
            log.info("certificate file changed", path=source)
            changed = True
    return changed
