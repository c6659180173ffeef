"""`spilo metrics`: what Prometheus reads."""

from __future__ import annotations

from runtime.cli import metrics
from runtime.cli.stored import Archive, Backup, Drill, Stored

ARCHIVE = Archive("one", 100.0, 3, 48 << 20, 12.5, "000000010000000000000004", 90.0, 95.0, "503 SlowDown")


def values(found: Stored) -> dict[str, float]:
    """The samples by name and labels; every line is one, or a comment about the next."""
    samples = {}
    for line in metrics.text(found).splitlines():
        if not line.startswith(("# HELP spilo_", "# TYPE spilo_")):
            name, _, value = line.rpartition(" ")
            samples[name] = float(value)
    return samples


def test_all_there() -> None:
    """Backlog, backup and drill are numbers; moments are seconds since the epoch."""
    found = values(Stored(ARCHIVE, Backup("ok", {"finished": 1795400197.9, "size": 2 << 40}), Drill("ok", {
        "proven": {"finished": 50.0}, "rto_seconds": 1.5, "rpo_bytes": 0})))
    assert found["spilo_archive_waiting_bytes"] == 48 << 20
    assert found["spilo_archive_oldest_waiting_seconds"] == 12.5
    assert found["spilo_archive_failing"] == 1
    assert found["spilo_backup_last_success_timestamp_seconds"] == 1795400197.9
    assert found["spilo_backup_last_size_bytes"] == 2 << 40
    assert found['spilo_drill_state{state="ok"}'] == 1
    assert found["spilo_drill_last_ok_timestamp_seconds"] == 50


def test_nothing_yet() -> None:
    """What never was has no sample; that it never was has one."""
    found = values(Stored(None, Backup("never"), Drill("never")))
    assert found == {'spilo_backup_state{state="never"}': 1, 'spilo_drill_state{state="never"}': 1, "spilo_backup_last_try_failed": 0}
