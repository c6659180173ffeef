#!/usr/bin/env bash
# What can be told without running the product; called inside the test image. Every check runs, also after a failure.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

failed=()
check() {
    printf 'check: %s\n' "$*"
    "$@" || failed+=("$1")
}

check ruff check --no-cache .
check mypy --strict --cache-dir /tmp/mypy
check python -m bootstrap.reference --check
check shellcheck -x docker/*.sh docker/install/*.sh .ci/run
check python -c 'import yaml; yaml.safe_load(open("docker/compose.yaml", encoding="utf-8"))'

if [ ${#failed[@]} -gt 0 ]; then
    printf 'check: failed: %s\n' "${failed[*]}"
    exit 1
fi
echo "check: all right"
