#!/bin/sh
# Installs PostgreSQL, etcd, HAProxy and Python from Debian, and the extra packages given as arguments, then removes
# what the appliance never runs. Both belong in one layer: what a later layer deletes still takes its space.
#
# Files are deleted, packages stay registered: apt remains consistent in images made FROM this one, and
# `apt-get install --reinstall PACKAGE` brings back what was deleted.
set -eu
export DEBIAN_FRONTEND=noninteractive

# Fixed ids, made before any package can take them: they own the files on the data volumes.
groupadd --system --gid 103 postgres
useradd --system --uid 101 --gid 103 --home-dir /home/postgres --create-home --shell /bin/bash postgres

packages() { dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^ii *//p' | sort; }

apt-get update -qq
apt-get install -y -qq ca-certificates etcd-server haproxy liblzo2-2 lzop netcat-openbsd postgresql-17 pv python3 tzdata >/dev/null
packages >/tmp/own
if [ $# -gt 0 ]; then apt-get install -y -qq "$@" >/dev/null; fi
packages | comm -13 /tmp/own - >/tmp/extra

# Does an extra package depend on a package whose name begins so?
extra_needs() {
    [ -s /tmp/extra ] || return 1
    # shellcheck disable=SC2046 # one word a package
    dpkg-query -W -f '${Pre-Depends}, ${Depends}\n' $(cat /tmp/extra) | tr ',|' '\n' | sed 's/^ *//' | grep -q "^$1"
}

# Deletes the files, not the registration, of the installed packages that match the patterns.
hollow_out() {
    dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^ii *//p' | while read -r package; do
        dpkg-query -L "$package" | grep -v '/copyright$' | while read -r file; do
            if [ -L "$file" ] || [ -f "$file" ]; then rm -f "$file"; fi
        done
    done
}

# PostgreSQL's JIT (switched off) brings LLVM and its solver.
rm -f /usr/lib/postgresql/17/lib/llvmjit.so
if ! extra_needs libllvm; then hollow_out 'libllvm*'; fi
if ! extra_needs libllvm && ! extra_needs libz3; then hollow_out libz3-4; fi

# Perl runs Debian's wrappers around PostgreSQL's programs; the programs themselves come first on PATH.
find /usr/bin -lname '*/pg_wrapper' -delete
if ! extra_needs 'perl\>' && ! extra_needs libperl; then
    hollow_out perl 'perl-modules-*' 'libperl5*' libjson-perl libio-pty-perl libipc-run-perl libtext-charwidth-perl \
        libtext-wrapi18n-perl
fi

# A tool for stopped members only, as large as the rest of PostgreSQL's programs together.
rm -f /usr/bin/etcdutl

# Sources of locales: C.UTF-8 is part of libc, ICU has its own, and one more is made here because clusters that
# come from elsewhere are often made with it.
localedef -i en_US -f UTF-8 en_US.UTF-8
rm -rf /usr/share/i18n/locales /usr/share/i18n/charmaps

# A private key that is the same in every copy of an image is none.
rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem
find /etc/ssl/certs -xtype l -delete

# Nobody becomes somebody else in here.
find / -xdev -type f -perm /6000 -exec chmod ug-s {} +

install -d -o postgres -g postgres -m 0755 /home/postgres
install -d -o postgres -g postgres -m 0700 /home/postgres/pgdata /run/spilo
install -d -o postgres -g postgres -m 0755 /run/postgresql
chmod g-s /run/postgresql
# `docker run --read-only --tmpfs /run` mounts an empty directory with this one's mode over it.
chmod 1777 /run

find / -xdev -type d -empty \( -path '/usr/share/perl*' -o -path '/usr/lib/*/perl*' -o -path '/usr/lib/llvm*' \) -delete
apt-get clean
rm -rf /tmp/own /tmp/extra /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old \
    /var/cache/ldconfig/aux-cache
find /var/log -type f -delete
