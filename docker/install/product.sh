#!/bin/sh
# Installs our own packages, from the source tree in the current directory, under /product, in the shape of
# /opt/spilo: the last and smallest layer, the only one that a change of the source makes anew.
set -eu

python3 -m pip wheel -q --no-deps --no-build-isolation --wheel-dir /tmp/wheels .
python3 -m pip --python /opt/spilo/bin/python install -q --no-deps --no-index --no-compile \
    --no-warn-script-location --root /product /tmp/wheels/*.whl
/opt/spilo/bin/python -m compileall -q -s /product --invalidation-mode checked-hash /product
