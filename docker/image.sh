#!/usr/bin/env bash
# Builds one stage of the Dockerfile (first argument) as an image (second argument), from engine and base image on.
# Shows the steps that really run, and nothing where nothing changed; the whole output is kept in build/image-TAG.log.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=docker/progress.sh
. docker/progress.sh

stage=$1
tag=$2
log=build/image-${tag//[^A-Za-z0-9_.-]/-}.log
base=${BASE:-debian:trixie-slim}
say() { printf 'image: %s\n' "$*" >&2; }

# Reads the output of `docker build`, of the classic builder or of BuildKit (--progress=plain), and shows the heading
# of each step that is not found in the cache, then every few seconds that it still runs.
steps() {
    local heading='' since=$SECONDS told=0 line code
    while true; do
        code=0
        IFS= read -r -t 1 line || code=$?
        if [ "$code" = 0 ]; then
            case $line in
                'Step '*' : RUN '* | 'Step '*' : COPY '*) heading=${line#Step } ;;
                '#'*' ['*'] RUN '* | '#'*' ['*'] COPY '*) heading=${line#\#* } ;;
                *'Using cache'* | '#'*' CACHED'*) heading='' ;;
                'Step '* | '#'*' ['*) heading='' ;;
                *) show ;;
            esac
        elif [ "$code" -le 128 ]; then
            return # the end of the output
        else
            show
            if [ $((SECONDS - since)) -ge $((told + 5)) ]; then
                told=$((SECONDS - since))
                say "        $told s, still at it"
            fi
        fi
    done
}

show() {
    [ -n "$heading" ] || return 0
    say "  $(printf '%s' "$heading" | cut -c 1-100)"
    heading=''
    since=$SECONDS
    told=0
}

mkdir -p build
docker/engine.sh
# One after the other: two builds at once would make the same stages twice.
if command -v flock >/dev/null 2>&1; then
    exec 9>build/.image.lock
    flock -n 9 || { say "waiting for another build to end"; flock 9; }
fi
docker/base.sh "$base"

before=$(docker image inspect --format '{{.Id}}' "$tag" 2>/dev/null || true)
start=$SECONDS
say "building $tag (log: $log)"
# What the label says about the source; a tree with changes says so.
revision=$(git rev-parse HEAD 2>/dev/null || true)
[ -z "$revision" ] || git diff --quiet HEAD -- 2>/dev/null || revision=$revision-dirty
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
progress=()
if docker build --help 2>/dev/null | grep -q -- '--progress'; then progress=(--progress=plain); fi
build() {
    DOCKER_CLI_HINTS=false docker build "${progress[@]+"${progress[@]}"}" --target "$stage" --tag "$tag" --build-arg "BASE=$base" \
        --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
        ${EXTRA_PACKAGES:+--build-arg "EXTRA_PACKAGES=$EXTRA_PACKAGES"} . 2>&1 </dev/null
}
if ! build | tee "$log" | steps; then
    show_end image "$log"
    exit 1
fi
after=$(docker image inspect --format '{{.Id}} {{.Size}}' "$tag")
if [ "${after%% *}" = "$before" ]; then
    say "$tag is up to date"
else
    say "$tag is built: $((${after##* } / 1000000)) MB, took $((SECONDS - start)) s"
fi
