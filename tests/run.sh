#!/bin/bash
# Runs the tests and totals them: every Criterion suite BUILD/tests/test_*, then every script
# tests/check_*.sh, which tries the program as a user would (command line, mpirun, kill -9).
#
#     tests/run.sh BUILD [WORD...]      only those whose name holds one of the words
#
# A check is called with BUILD's program in $APBENCH and a scratch folder in $SCRATCH; it prints one
# line a test, `ok NAME`, `skip NAME: why` or `not ok NAME: why`. What a suite or a check said is in
# BUILD/tests/NAME.log and shown when something failed. The last line totals: `N passed, N failed`.
set -u
build=$1
shift
words=("$@")

# Several ranks share a few cores here: let them, unbound, and let idle threads sleep.
export OMP_WAIT_POLICY=passive OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_btl_base_warn_component_unused=0 OMPI_MCA_mpi_yield_when_idle=1
export APBENCH=$PWD/$build/apbench
limit=900 # seconds for one suite or check: only a hang gets there

passed=0 failed=0 skipped=0

. tests/wanted.sh

# tally NAME LOG PASSED FAILED SKIPPED
tally() {
    passed=$((passed + $3)) failed=$((failed + $4)) skipped=$((skipped + $5))
    if [ "$4" != 0 ]; then
        echo "---- $1: $4 failed"
        cat "$2"
        echo "----"
    else
        echo "$1: $3 passed$([ "$5" = 0 ] || echo ", $5 skipped") in ${SECONDS} s"
        [ "$5" = 0 ] || grep '^skip ' "$2"
    fi
}

for suite in "$build"/tests/test_*; do
    case $suite in *.o | *.d | *.log | *'*') continue ;; esac
    name=${suite##*/}
    wanted "$name" || continue
    log=$build/tests/$name.log
    SECONDS=0
    timeout -k 5 $limit "$suite" >"$log" 2>&1
    status=$?
    # Criterion's closing line, without its colours: "Synthesis: Tested: 3 | Passing: 3 | ..."
    counts=$(sed 's/\x1b\[[0-9;]*m//g' "$log" |
        sed -n 's/.*Synthesis: Tested: \([0-9]*\) | Passing: \([0-9]*\) .*/\1 \2/p' | tail -n 1)
    read -r tested passing <<<"${counts:-0 0}"
    bad=$((tested - passing))
    if [ $bad = 0 ] && { [ $status != 0 ] || [ "$tested" = 0 ]; }; then
        echo "$name ended with status $status after $tested tests" >>"$log"
        bad=1
    fi
    tally "$name" "$log" "$passing" $bad 0
done

for check in tests/check_*.sh; do
    [ -e "$check" ] || continue
    name=${check##*/}
    name=${name%.sh}
    wanted "$name" || continue
    log=$PWD/$build/tests/$name.log
    SECONDS=0
    SCRATCH=$(mktemp -d) || exit 1
    export SCRATCH
    timeout -k 5 $limit bash "$check" >"$log" 2>&1
    status=$?
    good=$(grep -c '^ok ' "$log")
    bad=$(grep -c '^not ok ' "$log")
    skip=$(grep -c '^skip ' "$log")
    if [ "$bad" = 0 ] && { [ $status != 0 ] || [ $((good + skip)) = 0 ]; }; then
        echo "$name ended with status $status after $good tests" >>"$log"
        bad=1
    fi
    rm -rf "$SCRATCH"
    tally "$name" "$log" "$good" "$bad" "$skip"
done

if [ $((passed + failed)) = 0 ]; then
    echo "no test was run$([ $skipped = 0 ] || echo ", $skipped skipped")"
    all_met
    exit 1
fi
echo "$passed passed, $failed failed$([ $skipped = 0 ] || echo ", $skipped skipped")"
all_met && [ $failed = 0 ]
