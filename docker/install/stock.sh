#!/bin/sh
# Installs an unmodified WAL-E with boto 2, as it runs elsewhere, in the test image: /usr/local/bin/stock-wal-e. It needs a
# Python before 3.12, which the previous release of Debian has (and keeps: security support is not what it is here for).
# What it imports is in /opt/stock already.
set -eu
export DEBIAN_FRONTEND=noninteractive

# The same mirror as the image's own, one release back.
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    if [ -s "$file" ]; then sed "s/$release/bookworm/g" "$file" >"/etc/apt/sources.list.d/bookworm.${file##*.}"; fi
done
# Nothing comes from there that the image's own release has, or that was not asked for by name.
printf 'Package: *\nPin: release n=bookworm\nPin-Priority: 50\n' >/etc/apt/preferences.d/bookworm
apt-get update -qq
apt-get install -y -qq --no-install-recommends python3.11-minimal libpython3.11-stdlib >/dev/null
rm -f /etc/apt/sources.list.d/bookworm.* /etc/apt/preferences.d/bookworm
apt-get clean
rm -rf /var/lib/apt/lists/*

# What pip would have made of its entry point. That its signatures are of today's version is a matter of configuration.
cat >/usr/local/bin/stock-wal-e <<'END'
#!/usr/bin/python3.11
import os
import sys

sys.path.insert(0, "/opt/stock")
sys.dont_write_bytecode = True
os.environ["S3_USE_SIGV4"] = "True"
from wal_e.cmd import main

sys.exit(main())
END
chmod 755 /usr/local/bin/stock-wal-e
