"""What WAL-E 1.1.1 needs to run on today's Python, PostgreSQL and object stores: no fork, but cures, each a module.

    failure     what goes wrong, in WAL-E's own form and with an exit code that tells what it was
    retries     only what can get better by itself is tried again
    pipelines   a pipeline that fails ends its processes, in place of waiting for them for ever
    blobstore   the storage: runtime.store in place of boto 2
    archive     wal-push: nothing in the archive is replaced by something else, and WAL is what its name says
    prefetch    prefetching with any size of segments, in plain child processes
    online      backup-push for PostgreSQL 15 and later, through one session
    offline     backup-push --while-offline under the right name
    restore     backup-fetch: damage has a name, places in use are not touched
    removal     delete: what the store refuses to delete is not reported as deleted

`install` in `__main__` applies them, in an order that matters. This package runs in WAL-E's environment only (/opt/wal-e).
"""
