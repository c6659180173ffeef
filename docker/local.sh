#!/usr/bin/env bash
# The local cluster of `make run`: run, status, psql, stop, clean. Every command can be given again at any time.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=docker/progress.sh
. docker/progress.sh

PROJECT=spilo
MEMBERS=(member1 member2 member3)
ETCD=(etcd1 etcd2 etcd3)
PORTS=(15431 15432 15433)
WAIT=180 # seconds until all must stream
say() { printf '%s\n' "$*" >&2; }

compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose --ansi never -p "$PROJECT" -f docker/compose.yaml "$@"
    else
        docker-compose --ansi never -p "$PROJECT" -f docker/compose.yaml "$@"
    fi
}

# Everything that carries our project's label: containers, volumes, networks.
ours() { docker "$1" ls --quiet ${2:+"$2"} --filter "label=com.docker.compose.project=$PROJECT"; }

# A secret, made once: a file, and how many random bytes. The file must be readable by the containers' user, whom this
# machine does not know, so the folder is what keeps everybody else out.
make_secret() {
    local file=build/secret/$1
    [ -s "$file" ] && return
    mkdir -p build/secret
    chmod 0700 build/secret
    od -An -v -N"$2" -tx1 /dev/urandom | tr -d ' \n' >"$file"
    chmod 0444 "$file"
    say "secret:  made, kept in $file"
}

# From `spilo status`, on one line each: `ready` or `waiting` (for one primary and two that stream), the primary or `-`,
# all members in words.
SUMMARY='
import json, sys
status = json.load(sys.stdin)
members = {one["name"]: (one["role"], one["state"]) for one in status["members"]}
streaming = [name for name, (role, state) in members.items() if state == "streaming"]
print("ready" if status["primary"] and len(streaming) == len(sys.argv) - 2 else "waiting")
print(status["primary"] or "-")
print(", ".join(" ".join((name, *members.get(name, ("is awaited",)))) for name in sys.argv[1:]))
'

# Sets state, primary and words to what the first member that answers says; false while none does.
look() {
    local member said
    for member in "${MEMBERS[@]}"; do
        # shellcheck disable=SC2016 # the container's shell expands it
        said=$(docker exec "spilo-$member" bash -c 'spilo status --output json 2>/dev/null | /opt/spilo/bin/python -I -c "$@"' - \
            "$SUMMARY" "${MEMBERS[@]}" 2>/dev/null) || continue
        { read -r state && read -r primary && read -r words; } <<<"$said"
        return
    done
    state=waiting primary=- words="no member answers yet"
    return 1
}

run() {
    docker/engine.sh compose
    docker/image.sh appliance spilo
    docker/image.sh store spilo-store
    make_secret cluster-secret 32
    make_secret store-key-id 10
    make_secret store-secret 20
    say "cluster: starting ${ETCD[*]} store ${MEMBERS[*]}"
    compose_up
    wait_for_all
    docker exec "spilo-$primary" spilo ca >build/ca.crt
    explain
}

compose_up() {
    quietly cluster build/compose.log compose up --detach || {
        say "cluster: a port that is taken? ${PORTS[*]} and 18431 18432 18433 on 127.0.0.1 must be free"
        return 1
    }
}

wait_for_all() {
    local start=$SECONDS before='' told=0
    while true; do
        look || true
        if [ "$words" != "$before" ] || [ $((SECONDS - told)) -ge 10 ]; then
            printf 'cluster: %3d s  %s\n' $((SECONDS - start)) "$words" >&2
            before=$words told=$SECONDS
        fi
        [ "$state" = ready ] && return
        if [ $((SECONDS - start)) -ge "$WAIT" ]; then
            say "cluster: not all stream after $WAIT s; the last lines of each member:"
            for member in "${MEMBERS[@]}"; do docker logs --tail 5 "spilo-$member" 2>&1 | sed "s/^/  $member: /" >&2; done
            return 1
        fi
        sleep 0.3
    done
}

explain() {
    local hosts='' replica member
    for member in "${PORTS[@]}"; do hosts+=,127.0.0.1:$member; done
    for member in "${MEMBERS[@]}"; do [ "$member" = "$primary" ] || replica=$member; done
    cat <<TEXT

A cluster of three members runs, $primary is the primary.

Look at it     docker exec -it spilo-$primary spilo status
SQL            make psql
or with psql   export PGPASSWORD=\$(docker exec spilo-$primary spilo password admin)
               psql "postgresql://admin@${hosts#,}/postgres?target_session_attrs=read-write&sslmode=verify-full&sslrootcert=build/ca.crt"
               This finds the primary wherever it is. On this machine only: the ports are on 127.0.0.1.

Try            Watch in a second terminal:  docker exec -it spilo-$replica spilo status --watch
               Kill the primary:            docker kill spilo-$primary
               Bring it back, a replica:    docker start spilo-$primary
               A planned change:            docker exec -it spilo-$replica spilo switchover
               Backups in the store:        docker exec -it spilo-$replica spilo backup list
               Lose everything:             docker rm -fv spilo-member{1,2,3}; docker volume rm spilo_member{1,2,3}; make run

Stop           make stop     the data stays, \`make run\` continues
Remove         make clean    the cluster with its data
TEXT
}

# A member that runs; the primary where there is one.
somebody() {
    look || true
    [ "$primary" = - ] || { printf 'spilo-%s\n' "$primary" && return; }
    for member in "${MEMBERS[@]}"; do
        [ -z "$(docker ps --quiet --filter "name=^spilo-$member\$")" ] || { printf 'spilo-%s\n' "$member" && return; }
    done
    say "the local cluster does not run; start it with: make run"
    return 1
}

status() {
    docker ps --all --filter "label=com.docker.compose.project=$PROJECT" --format 'table {{.Names}}\t{{.Status}}\t{{.Ports}}'
    local one
    one=$(somebody)
    echo
    docker exec "$one" spilo status
}

psql() {
    local one terminal=(-i)
    one=$(somebody)
    [ -t 0 ] && terminal=(-it)
    exec docker exec "${terminal[@]}" "$one" spilo psql
}

engine_there() { docker info >/dev/null 2>&1; }

# Members first: the primary hands over its last WAL and its lease while etcd and the store still answer.
stop() {
    local group one running
    engine_there || { say "no engine runs, so no cluster does"; return; }
    for group in "${MEMBERS[*]}" "${ETCD[*]} store"; do
        running=()
        for one in $group; do
            [ -z "$(docker ps --quiet --filter "name=^spilo-$one\$")" ] || running+=("spilo-$one")
        done
        [ ${#running[@]} -gt 0 ] || continue
        say "stopping ${running[*]}"
        quietly stop build/stop.log docker stop -t 300 "${running[@]}"
    done
    say "the local cluster is stopped, its data stays: \`make run\` continues, \`make clean\` removes it"
}

clean() {
    local what found
    if engine_there; then
        for what in container volume network; do
            found=$(ours "$what" "$([ $what = container ] && echo --all)")
            [ -n "$found" ] || continue
            say "removing $(wc -w <<<"$found" | tr -d ' ') ${what}s of the local cluster"
            case $what in
                container) xargs docker rm --force --volumes <<<"$found" >/dev/null ;;
                *) xargs docker "$what" rm <<<"$found" >/dev/null ;;
            esac
        done
    else
        say "no engine runs; if there is a local cluster, its volumes stay"
    fi
    if [ -d build ]; then
        say "removing build/"
        rm -rf build
    fi
    say "clean; the images stay, remove them with: docker image rm spilo spilo-store spilo-test"
}

case ${1:-} in
    run | status | psql | stop | clean) "$1" ;;
    *) say "usage: $0 run|status|psql|stop|clean"; exit 2 ;;
esac
