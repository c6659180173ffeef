"""PostgreSQL's parameters as data, in three kinds, and how large the ones that depend on the machine are.

default    what we think is right; SPILO_CONFIGURATION may change it
mandatory  always wins, because the appliance does not work, or is not safe, without it
blocked    SPILO_CONFIGURATION is refused when it names one; the text says what to use instead
"""

from __future__ import annotations

from typing import Any

from bootstrap.facts import Facts

MB = 1 << 20
GB = 1 << 30


def _between(low: float, value: float, high: float) -> int:
    return int(max(low, min(value, high)))


def max_connections(memory: int) -> int:
    """30 MB of memory a connection, between 100 and 1000, as Spilo has it."""
    return _between(100, memory // (30 * MB), 1000)


def sized(facts: Facts) -> dict[str, str]:
    """Parameters that follow from this machine's memory, processors and volume. They differ from member to member."""
    connections = max_connections(facts.memory)
    wal = _between(512 * MB, facts.volume / 20, 16 * GB)
    return {
        "shared_buffers": f"{_between(32 * MB, facts.memory / 4, 64 * GB) // MB}MB",
        "effective_cache_size": f"{int(facts.memory * 0.7) // MB}MB",
        "work_mem": f"{_between(4 * MB, facts.memory / 4 / connections, 64 * MB) // MB}MB",
        "maintenance_work_mem": f"{_between(32 * MB, facts.memory / 20, 2 * GB) // MB}MB",
        "max_wal_size": f"{wal // MB}MB",
        "min_wal_size": f"{max(80 * MB, wal // 8) // MB}MB",
        # A replica that is away must not fill the primary's disk: at most a fifth of the volume waits for it.
        "max_slot_wal_keep_size": f"{_between(256 * MB, facts.volume / 5, 100 * GB) // MB}MB",
        # Docker gives /dev/shm 64 MB, where parallel queries soon fail; System V memory has no such limit.
        "dynamic_shared_memory_type": "posix" if facts.shm >= facts.memory / 8 else "sysv",
    }


# Never for one member alone: a replica needs at least the primary's values (PostgreSQL's manual, "Hot Standby").
SHARED_DEFAULT: dict[str, Any] = {
    "max_wal_senders": 10,
    "max_replication_slots": 10,
    "max_worker_processes": 8,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
    "track_commit_timestamp": "off",
    "wal_keep_size": "128MB",
    "wal_level": "replica",
}
SHARED_MANDATORY: dict[str, Any] = {
    "wal_log_hints": "on",  # pg_rewind needs it, unless a cluster has checksums, which one from elsewhere need not have
    "hot_standby": "on",
}
# In etcd too, so that a person can change them in a running cluster, but a member may differ.
DEFAULT: dict[str, Any] = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "track_io_timing": "on",
    "track_functions": "all",
    "wal_compression": "lz4",
    "checkpoint_completion_target": 0.9,
    "wal_retrieve_retry_interval": "500ms",
    # A silent replica is dropped from the quorum, and a silent primary noticed, after this.
    "wal_sender_timeout": "10s",
    "wal_receiver_timeout": "10s",
    "wal_receiver_status_interval": "2s",
    "tcp_keepalives_idle": 60,
    "tcp_keepalives_interval": 10,
    "tcp_keepalives_count": 3,
    "autovacuum_vacuum_scale_factor": 0.05,
    "autovacuum_analyze_scale_factor": 0.02,
    "log_line_prefix": "%m [%p] %q%u@%d %r ",
    "log_checkpoints": "on",
    "log_lock_waits": "on",
    "log_min_duration_statement": "1s",
    "log_autovacuum_min_duration": "10s",
    "log_temp_files": "10MB",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "ssl_min_protocol_version": "TLSv1.2",
}
MANDATORY: dict[str, Any] = {
    "ssl": "on",
    "password_encryption": "scram-sha-256",
    "jit": "off",  # the image has no LLVM, which would be a third of its size
    "log_destination": "stderr",
    "logging_collector": "off",  # Docker collects
}
# With an archive: at most so much of a quiet cluster's WAL is not there yet.
ARCHIVE_DEFAULT: dict[str, Any] = {"archive_timeout": "60s"}
_OURS = "the appliance sets it"
_SAFE = "data would not survive a crash"
BLOCKED: dict[str, str] = {
    "fsync": _SAFE,
    "full_page_writes": _SAFE,
    "data_sync_retry": _SAFE,
    "ignore_invalid_pages": "it hides lost data; an operator decides that by hand",
    "zero_damaged_pages": "it destroys data; set it in a session if you must",
    "ignore_checksum_failure": "it spreads corruption; set it in a session if you must",
    "synchronous_standby_names": "use DURABILITY",
    "listen_addresses": _OURS,
    "port": "use PGPORT",
    "unix_socket_directories": _OURS,
    "data_directory": "use PGDATA",
    "config_file": _OURS,
    "hba_file": "use SPILO_CONFIGURATION: {postgresql: {pg_hba: [...]}}",
    "ident_file": _OURS,
    "external_pid_file": _OURS,
    **dict.fromkeys(("include", "include_if_exists", "include_dir"), "use postgresql.parameters, which is checked"),
    "cluster_name": "use SCOPE",
    "primary_conninfo": _OURS,
    "primary_slot_name": _OURS,
    "restore_command": _OURS,
    **{f"recovery_target{part}": "a replica would stop, or promote itself"
       for part in ("", "_action", "_inclusive", "_lsn", "_name", "_time", "_timeline", "_xid")},
    "archive_mode": "use WAL_S3_BUCKET",
    "archive_command": _OURS,
    "archive_cleanup_command": _OURS,
    "recovery_end_command": _OURS,
    "archive_library": _OURS,
    "ssl_cert_file": "use SSL_CERTIFICATE",
    "ssl_key_file": "use SSL_PRIVATE_KEY",
    "ssl_ca_file": "use SSL_CA",
    "ssl_crl_file": "use SSL_CRL",
    "ssl_crl_dir": "use SSL_CRL",
    **{name: _OURS for name in (*MANDATORY, *SHARED_MANDATORY)},
}
