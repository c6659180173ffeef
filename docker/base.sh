#!/usr/bin/env bash
# Makes sure that the base image (first argument) exists on this machine. A registry is asked first; where none
# can be reached, the same image is made from the distribution's own packages with debootstrap (about half a minute).
#
# Additional certificate authorities that this machine trusts (/usr/local/share/ca-certificates, or those that only
# its CA bundle holds) go into the image made here, so that builds behind a TLS-inspecting proxy work unchanged.
set -euo pipefail
# shellcheck source=docker/progress.sh
. "$(dirname "$0")/progress.sh"

image=${1:-debian:trixie-slim}
suite=${image#*:}
suite=${suite%-slim}
say() { printf 'base: %s\n' "$*" >&2; }

# Where there is no `timeout` (macOS) there is a registry, and Docker's own time limits.
limited() { if command -v timeout >/dev/null 2>&1; then timeout "${PULL_SECONDS:-60}" "$@"; else "$@"; fi; }

docker image inspect "$image" >/dev/null 2>&1 && exit 0
say "pulling $image (at most a minute)"
if limited docker pull -q "$image" >/dev/null 2>&1 </dev/null; then exit 0; fi
case $image in
    debian:*) ;;
    *) say "$image cannot be pulled, and only debian:* images can be made here"; exit 1 ;;
esac
say "no registry answers; making $image with debootstrap (half a minute)"
[ "$(id -u)" = 0 ] || { say "that needs root: run 'sudo $0 $image' once"; exit 1; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
if ! command -v debootstrap >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 || { say "that needs debootstrap: install it, then run this again"; exit 1; }
    quietly base "$root/log" apt-get update -q
    quietly base "$root/log" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap
fi
quietly base "$root/log" debootstrap --variant=minbase "$suite" "$root/fs"

# The host's own additions to the distribution's certificate authorities, if any.
extra=$root/fs/usr/local/share/ca-certificates
mkdir -p "$extra"
cp /usr/local/share/ca-certificates/*.crt "$extra" 2>/dev/null || true
bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -r "$bundle" ]; then
    cat /usr/share/ca-certificates/mozilla/*.crt "$extra"/*.crt 2>/dev/null | grep -v -- '-----' | tr -d '\n ' >"$root/known" || true
    awk -v dir="$root" '/BEGIN CERTIFICATE/ {n++} n {print > (dir "/host-" n ".crt")}' "$bundle"
    for crt in "$root"/host-*.crt; do
        [ -e "$crt" ] || continue
        body=$(sed -n '/BEGIN/,/END/p' "$crt" | grep -v -- '-----' | tr -d '\n ')
        grep -qF -- "$body" "$root/known" || cp "$crt" "$extra/"
    done
fi

rm -rf "$root"/fs/usr/share/{doc,man,info,locale,lintian}/* "$root"/fs/var/lib/apt/lists/* \
    "$root"/fs/var/cache/apt/* "$root"/fs/var/log/*
tar -C "$root/fs" -c . | docker import -c 'CMD ["bash"]' - "$image" >/dev/null
say "made $image ($(docker image inspect --format '{{.Size}}' "$image" | awk '{printf "%.0f MB", $1 / 1e6}'))"
