#!/bin/sh
# Builds the virtual environment /opt/test from the locked requirements (first argument). It sees the packages of
# /opt/spilo, so that the tests import exactly what the appliance runs.
set -eu

python3 -m pip wheel -q --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheels -r "$1"
python3 -m venv --without-pip /opt/test
for site in /opt/test/lib/python3*/site-packages; do
    echo "/opt/spilo${site#/opt/test}" >"$site/spilo.pth"
done
python3 -m pip --python /opt/test/bin/python install -q --no-deps --no-index --compile /tmp/wheels/*.whl
python3 -m pip --python /opt/test/bin/python check
rm -rf /tmp/wheels
