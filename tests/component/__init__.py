"""The component layer: PostgreSQL, etcd, HAProxy, Patroni and supervisord as child processes, in the test image."""
