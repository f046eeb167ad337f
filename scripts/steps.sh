# Sourced by scripts that take long: say what happens, how long it took, and why it failed. Set `name` first.

step_log=$(mktemp)
trap 'rm -f "$step_log"' EXIT

say() { printf '%s\n' "$name: $*"; }
die() {
    printf '%s\n' "$name: $*" >&2
    exit 1
}

# Runs a command behind one line that tells how long it took, with a dot every few seconds where somebody watches.
# Returns the command's exit code; what it said is in $step_log.
timed() {
    local title=$1 started=$SECONDS code=0 dots=
    shift
    printf '%s' "$name: $title ... "
    if [ -t 1 ]; then
        while sleep 5 && kill -0 $$ 2>/dev/null; do printf .; done & # $$: ends with us, however we end
        dots=$!
    fi
    "$@" >"$step_log" 2>&1 </dev/null || code=$?
    if [ -n "$dots" ]; then
        kill "$dots"
        wait "$dots" 2>/dev/null || true
        printf ' '
    fi
    if [ "$code" -eq 0 ]; then printf '%s\n' "$((SECONDS - started)) s"; else printf 'failed\n'; fi
    return "$code"
}

# The same for what must not fail.
step() {
    timed "$@" && return
    tail -n 30 "$step_log" >&2
    die "$1 failed; above is the end of what it said."
}
