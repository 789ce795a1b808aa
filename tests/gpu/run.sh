#!/bin/bash
# Runs the GPU tests: every program BUILD/tests/gpu/*, but for measurements (bandwidth, bench_*), then
# every script tests/gpu/check_*.sh.
#
#     tests/gpu/run.sh BUILD [--sanitize] [WORD...]      only those whose name holds a word
#
# Each prints one line a case, `ok NAME: ...`, `skip NAME: why` or `not ok NAME: ...`, and ends with
# status 1 when a case failed, 77 when no GPU can be used. --sanitize runs the programs with tiny sizes
# under compute-sanitizer's memcheck and racecheck instead. The last line totals; without a GPU nothing
# was tested, which is said and is no success.
set -u
build=$1
shift
tools=("")
if [ "${1-}" = --sanitize ]; then
    shift
    tools=(memcheck racecheck)
fi
words=("$@")
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

. "$(dirname "$0")/../wanted.sh"

# tally NAME STATUS: what the log says, into the totals
tally() {
    local good bad left
    good=$(grep -c '^ok ' "$log") bad=$(grep -c '^not ok ' "$log") left=$(grep -c '^skip ' "$log")
    if [ "$2" != 0 ] && [ "$bad" = 0 ]; then
        echo "not ok $1: ended with status $2"
        bad=1
    elif [ $((good + bad + left)) = 0 ]; then
        echo "not ok $1: it tested nothing"
        bad=1
    fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
    echo "     $SECONDS s"
}

for program in "$build"/tests/gpu/*; do
    name=${program##*/}
    case $name in *.o | *.d | bandwidth | bench_* | '*') continue ;; esac
    [ -f "$program" ] && [ -x "$program" ] && wanted "$name" || continue
    for tool in "${tools[@]}"; do
        command=("$program")
        # racecheck does not follow mbarriers, by which the Hopper kernel passes shared memory on.
        without=()
        [ "$tool" = racecheck ] && without=(--without hopper)
        # A refused allocation is no error: alloc() reports it, and is tested.
        [ -n "$tool" ] && command=(compute-sanitizer --tool "$tool" --error-exitcode 9
            --report-api-errors no --print-limit 20 "$program" --small "${without[@]}")
        echo "---- $name${tool:+ under $tool}"
        SECONDS=0
        timeout -k 5 900 "${command[@]}" >"$log" 2>&1
        status=$?
        cat "$log"
        if [ $status = 77 ]; then
            echo "test-gpu: no GPU can be used here; nothing was tested"
            exit 1
        fi
        tally "$name" $status
    done
done
for check in tests/gpu/check_*.sh; do # the program as a user meets it
    name=${check##*/}
    name=${name%.sh}
    [ -z "${tools[0]}" ] && wanted "$name" || continue
    echo "---- $name"
    SECONDS=0
    timeout -k 5 900 bash "$check" "$build" >"$log" 2>&1
    status=$?
    cat "$log"
    tally "$name" $status
done
if [ $((passed + failed + skipped)) = 0 ]; then
    echo "test-gpu: no program was run; they are built where nvcc is"
    exit 1
fi
echo "$passed passed, $failed failed, $skipped skipped"
all_met && [ $failed = 0 ]
