#!/bin/sh
# Installs our own packages, from the source tree in the current directory, under /product, in the shape of
# /opt/spilo: the last and smallest layer, the only one that a change of the source makes anew. setuptools and
# installer are called directly because pip would take three times as long.
set -eu

python3 -c 'from setuptools.build_meta import build_wheel; build_wheel("/tmp/wheels")' >/dev/null
PYTHONPATH=/usr/lib/python3/dist-packages /opt/spilo/bin/python -m installer \
    --destdir /product --no-compile-bytecode /tmp/wheels/*.whl
/opt/spilo/bin/python -m compileall -q -s /product --invalidation-mode checked-hash /product
