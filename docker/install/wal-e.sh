#!/bin/sh
# Builds the virtual environment /opt/wal-e from the locked requirements (first argument), and the command `wal-e`. It
# sees the packages of /opt/spilo, so boto3, psycopg2 and our own are there once.
set -eu

python3 -m pip wheel -q --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheels -r "$1"
python3 -m venv --without-pip /opt/wal-e
for site in /opt/wal-e/lib/python3*/site-packages; do
    echo "/opt/spilo${site#/opt/wal-e}" >"$site/spilo.pth"
done
python3 -m pip --python /opt/wal-e/bin/python install -q --no-deps --no-index --no-compile /tmp/wheels/*.whl
python3 -m pip --python /opt/wal-e/bin/python check
rm -rf /tmp/wheels

cd /opt/wal-e/lib/python3*/site-packages
rm -rf gevent/tests gevent/testing gevent/libuv zope/interface/tests zope/interface/common/tests zope/event/tests* greenlet/tests
find . \( -name '*.c' -o -name '*.h' -o -name '*.cpp' -o -name '*.hpp' -o -name '*.pyx' -o -name '*.pxd' \) -delete
find . -name '*.so' -exec strip --strip-unneeded {} +
# The stock entry point would start WAL-E as it is, which today's Python cannot run.
rm -f /opt/wal-e/bin/wal-e
/opt/wal-e/bin/python -m compileall -q -j 0 --invalidation-mode checked-hash "$PWD"

cat >/usr/local/bin/wal-e <<'END'
#!/opt/wal-e/bin/python -I
"""WAL-E, as `envdir /run/etc/wal-e.d/env wal-e COMMAND`, made to run on today's Python and PostgreSQL."""

import sys

from runtime.wale.__main__ import main

sys.exit(main())
END
chmod 755 /usr/local/bin/wal-e
