#!/usr/bin/env bash
# Runs one layer of the tests (or the checks, the benchmark, the generator of documents) inside the test image.
#
# The tree is mounted read-only. The logs that failing tests leave in $LOGS come out into ./logs, beside the whole
# output of the layer. The exit code is that of pytest; a layer without a test (code 5) has not passed.
set -euo pipefail
cd "$(dirname "$0")/.."

layer=$1
shift
image=${SPILO_TEST_IMAGE:-spilo-test}
name=spilo-tests-$$
inside=/home/postgres/logs # where the image's user may write; docker cp brings it out, whoever runs this
say() { printf '%s: %s\n' "$layer" "$*" >&2; }

# The engine's socket, for the layers that make containers of their own.
socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
engine=(--user 0:0 --env "SPILO_IMAGE=${SPILO_IMAGE:-spilo}" --env "SPILO_TESTS=$name")
case $socket in
    unix://*) engine+=(--volume "${socket#unix://}:/var/run/docker.sock") ;;
    *) engine+=(--env "DOCKER_HOST=$socket") ;;
esac

pytest=(python -m pytest -p no:cacheprovider)
# A file given by name stands in place of the whole layer.
if [[ " $* " != *" tests/"* ]]; then pytest+=("tests/$layer"); fi
options=(--user 101:103)
case $layer in
    check) command=(docker/check.sh) ;;
    docs)
        # The two documents come out as an archive, so that they belong to whoever asked for them.
        docker run --rm --volume "$PWD:/src:ro" --workdir /src --env PYTHONDONTWRITEBYTECODE=1 "$image" \
            bash -ec 'mkdir /tmp/docs; python -m bootstrap.reference --docs /tmp/docs; tar -C /tmp/docs -c .' |
            tar -C docs -x --no-same-owner --no-overwrite-dir
        say "docs/settings.md and docs/exit-codes.md are up to date"
        exit ;;
    unit) command=("${pytest[@]}") ;;
    component)
        # Servers on memory, because a cluster's fsync on a busy disk says nothing about the code.
        options+=(--shm-size 256m --tmpfs '/tmp:exec,mode=1777')
        command=("${pytest[@]}") ;;
    appliance)
        inside=/src/logs
        options=("${engine[@]}" --init --volume "$inside")
        command=("${pytest[@]}") ;;
    bench)
        options=("${engine[@]}" --init)
        command=(python -m tests.bench) ;;
    bench-wal)
        options=(--user 101:103 --env SEGMENTS --env SCALE --env REPLICA_SCALE)
        command=(python -m tests.bench wal replica) ;;
    *) say "no such layer"; exit 2 ;;
esac
# More arguments go to pytest, as in: docker/layer.sh unit -k durability -x
command+=("$@")

# shellcheck disable=SC2317 # called by the trap
finish() {
    docker cp "$name:$inside/." logs/ >/dev/null 2>&1 || true
    docker rm --force --volumes "$name" >/dev/null 2>&1 || true
}

mkdir -p logs
trap finish EXIT
trap 'exit 130' INT TERM
start=$SECONDS
say "${command[*]}"
code=0
docker run --name "$name" --no-healthcheck "${options[@]}" --volume "$PWD:/src:ro" --workdir /src \
    --env PYTHONDONTWRITEBYTECODE=1 --env HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis --env "LOGS=$inside" \
    --env "COLUMNS=${COLUMNS:-120}" "$image" "${command[@]}" 2>&1 </dev/null | tee "logs/$layer.log" || code=${PIPESTATUS[0]}
case $code in
    0) ;;
    4 | 5) say "not one test ran (pytest exit code $code), which does not count as passed" ;;
    *) say "failed with exit code $code after $((SECONDS - start)) s; logs are in ./logs" ;;
esac
exit "$code"
