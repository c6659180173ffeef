"""What a restored data directory brings along of how it was run elsewhere: settings, rules of access, slots of another life.

Nothing of that may act here. What is kept of the settings is how values are read and shown, which the data relies on.
"""

from __future__ import annotations

import locale
import re
from pathlib import Path

CONF = "postgresql.conf"
BASE = "postgresql.base.conf"  # where Patroni keeps what was postgresql.conf before it wrote its own
AUTO = "postgresql.auto.conf"
_GONE = (BASE, "pg_hba.conf", "pg_ident.conf", "patroni.dynamic.json", "standby.signal", "recovery.signal", "recovery.done",
         "postmaster.pid", "postmaster.opts", "backup_manifest", f"{CONF}.backup", f"{BASE}.backup", "pg_hba.conf.backup",
         "pg_ident.conf.backup")
_KEPT = re.compile(r"\s*(datestyle|intervalstyle|timezone|lc_(?:messages|monetary|numeric|time)|default_text_search_config)\s*=?\s*"
                   r"'([^'\\\n]*)'", re.IGNORECASE)


def _known(name: str) -> bool:
    """Whether this machine has the locale."""
    now = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_TIME, now)
    return True


def tame(text: str) -> str:
    """The lines of a postgresql.conf that may stay."""
    lines = []
    for line in text.splitlines():
        found = _KEPT.match(line)
        if found and not (found[1].lower().startswith("lc_") and not _known(found[2])):
            lines.append(f"{found[1]} = '{found[2]}'\n")
    return "".join(lines)


def disarm(data: Path, another: bool) -> None:
    """Take what must not act out of a data directory that does not run; `another`: it is the copy of another cluster, whose
    ALTER SYSTEM is not ours."""
    source = data / BASE if (data / BASE).exists() else data / CONF
    kept = tame(source.read_text(encoding="utf-8", errors="replace")) if source.is_file() else ""
    for name in (*_GONE, *([AUTO] if another else [])):
        (data / name).unlink(missing_ok=True)
    (data / CONF).unlink(missing_ok=True)
    (data / CONF).write_text(kept, encoding="utf-8")
    (data / CONF).chmod(0o600)
    (data / AUTO).touch(0o600)
