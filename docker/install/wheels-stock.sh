#!/bin/sh
# Puts an unmodified WAL-E from the locked requirements (first argument) into /opt/stock, for Python 3.11, which need not
# be here for that: wal-e itself is built (it is pure Python), the rest comes as wheels.
set -eu

wal_e=$(grep '^wal-e==' "$1")
python3 -m pip wheel -q --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheels "$wal_e"
grep -v '^wal-e==' "$1" >/tmp/others.txt
python3 -m pip install -q --no-cache-dir --no-deps --no-compile --target /opt/stock --python-version 3.11 \
    --implementation cp --only-binary=:all: -r /tmp/others.txt /tmp/wheels/*.whl
rm -rf /tmp/wheels /tmp/others.txt

cd /opt/stock
rm -rf bin gevent/tests gevent/testing gevent/libuv zope/interface/tests greenlet/tests
find . \( -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name '*.hpp' -o -name '*.pyx' -o -name '*.pxd' \) -delete
find . -name '*.so' -exec strip --strip-unneeded {} +
