"""Measurements, side by side in one run: `python -m tests.bench [PART ...]`. They print, they never pass or fail.

    size     the image, unpacked and compressed
    cold     from `docker run` to the first write, alone and as three members
    memory   what each program of a member holds at rest
    faults   how long writes pause, with our timings against Patroni's defaults
    durability  what each DURABILITY loses when the primary is cut off, and how it does without replicas
    proxies  the local etcd proxy against `etcd gateway` and against no proxy at all
    wal      archiving and restoring WAL, base backups: ours against WAL-E, pgBackRest and what PostgreSQL brings
"""
