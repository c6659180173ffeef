# shellcheck shell=bash
# Sourced by the scripts beside it: how long work tells that it goes on, without drowning anybody in its output.

# quietly NAME LOG COMMAND...: runs COMMAND with all its output in LOG. Where that takes longer, NAME and the last
# line of the log are shown every few seconds; where it fails, the end of the log is shown and its code returned.
quietly() {
    local name=$1 log=$2 start=$SECONDS next=2 code=0 pid
    shift 2
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if [ $((SECONDS - start)) -ge "$next" ]; then
            printf '%s:   %3d s  %s\n' "$name" $((SECONDS - start)) "$(last_line "$log")" >&2
            next=$((next + 5))
        fi
        sleep 0.1
    done
    wait "$pid" || code=$?
    [ "$code" = 0 ] || show_end "$name" "$log"
    return "$code"
}

# The last line of a log that says anything, short enough for a terminal.
last_line() { tr '\r' '\n' <"$1" | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-90 || true; }

# show_end NAME LOG: the end of a log, for a person.
show_end() {
    printf '%s: failed; the end of %s:\n' "$1" "$2" >&2
    tail -n 30 "$2" | sed 's/^/    /' >&2
}
