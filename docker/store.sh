#!/bin/sh
# The object store of the local cluster: serves the folders of /data as buckets, over S3's protocol. Its credentials come
# from files, and go to rclone in its environment, because everybody can read a command line.
set -eu

RCLONE_AUTH_KEY=$(printf '"%s,%s"' "$(cat /etc/store/key-id)" "$(cat /etc/store/secret)")
export RCLONE_AUTH_KEY RCLONE_CONFIG=/dev/null
mkdir -p /data/spilo
exec rclone serve s3 --addr :8333 /data
