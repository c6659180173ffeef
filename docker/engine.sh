#!/usr/bin/env bash
# Makes sure that a container engine answers. Does nothing where one already does (a laptop, a CI runner);
# on a bare Debian machine it installs Debian's engine and starts it. Safe to run again at any time.
set -euo pipefail

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
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

start_engine() {
    say "starting dockerd, its log is $log"
    mkdir -p "$(dirname "$log")"
    setsid dockerd >"$log" 2>&1 </dev/null &
    for _ in $(seq 1 120); do
        answers && return
        sleep 0.5
    done
    tail -n 20 "$log" >&2
    fail "dockerd did not answer within 60 s; the end of its log is above" "Start an engine by hand, check it with 'docker info', then run this again."
}

log=${ENGINE_LOG:-/var/log/dockerd.log}

if ! answers; then
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
