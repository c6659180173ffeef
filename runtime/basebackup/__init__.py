"""Base backups in a store, in WAL-E's layout: which there are (catalog), made (write) and brought back (read).

A base backup is a folder of tar partitions, each an lzop container, and a sentinel that is written last: without it the
backup is not complete. Beside WAL-E's own objects we keep a description of each backup, which stock WAL-E never sees.
"""
