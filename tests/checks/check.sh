# For the scripts tests/check_*.sh, which read it from the project's folder.

# is NAME EXPECTED FOUND
is() {
    [ "$2" = "$3" ] && echo "ok $1" || echo "not ok $1: '$3', expected '$2'"
}

# check NAME COMMAND...: one line, and why not
check() {
    local name=$1
    shift
    if "$@" >"$SCRATCH/said" 2>&1; then
        echo "ok $name"
    else
        echo "not ok $name: $(tail -n 1 "$SCRATCH/said")"
    fi
}
