#!/usr/bin/env bash
# Makes sure that a container engine answers; with the argument `compose`, that there is a compose too. Does nothing
# where both are there already (a laptop, a CI runner); on a bare Debian machine it installs Debian's packages and
# starts the engine. Safe to run again at any time.
set -euo pipefail
# shellcheck source=docker/progress.sh
. "$(dirname "$0")/progress.sh"

say() { printf 'engine: %s\n' "$*" >&2; }
answers() { docker info >/dev/null 2>&1; }
has_compose() { docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null 2>&1; }

fail() {
    say "$1"
    shift
    printf 'engine:   %s\n' "$@" >&2
    exit 1
}

install_packages() {
    command -v apt-get >/dev/null 2>&1 ||
        fail "missing: $*, and this is not Debian or Ubuntu" "Install them with your system's package manager, then run this again."
    [ "$(id -u)" = 0 ] ||
        fail "missing: $*, and installing them needs root" "Run: sudo apt-get install $*"
    say "installing $* (a minute or so)"
    quietly engine "$work/apt.log" apt-get update -q
    quietly engine "$work/apt.log" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

start_engine() {
    if [ -d /run/systemd/system ] && systemctl start docker >/dev/null 2>&1 && answers; then return; fi
    say "starting dockerd, its log is $log"
    mkdir -p "$(dirname "$log")"
    setsid dockerd >"$log" 2>&1 </dev/null &
    local dockerd=$!
    for _ in $(seq 1 300); do
        answers && return
        kill -0 "$dockerd" 2>/dev/null || break
        sleep 0.2
    done
    tail -n 20 "$log" >&2
    fail "dockerd does not answer; the end of its log is above" "Start an engine by hand, check it with 'docker info', then run this again."
}

log=${ENGINE_LOG:-/var/log/dockerd.log}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! answers; then
    if docker info 2>&1 | grep -qi 'permission denied'; then
        fail "an engine runs, but you ($(id -un)) may not use it" "Run: sudo usermod -aG docker $(id -un), log in again, then run this again."
    fi
    [ -z "${DOCKER_HOST:-}" ] || fail "no engine answers at DOCKER_HOST=$DOCKER_HOST" "Start it, or unset DOCKER_HOST."
    if ! command -v dockerd >/dev/null 2>&1; then
        [ "$(uname -s)" = Linux ] || fail "no container engine answers" "Start Docker Desktop (or colima, podman machine, ...) and run this again."
        install_packages docker.io iptables ca-certificates
    fi
    [ "$(id -u)" = 0 ] || fail "the container engine is not running" "Start it (for example: sudo systemctl start docker) and run this again."
    start_engine
    say "running: $(docker version --format '{{.Server.Version}}')"
fi

if [ "${1:-}" = compose ] && ! has_compose; then
    install_packages docker-compose
fi
