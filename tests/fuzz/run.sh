#!/bin/bash
# Runs fuzz targets, as many at a time as there are cores, and says of each in one line how it ended.
#
#     tests/fuzz/run.sh FOLDER SECONDS [WORD...]      only those whose name holds one of the words
#
# FOLDER has the built targets; what they find out (corpus/TARGET), say (TARGET.log) and crash on
# (TARGET-crash-..., TARGET-timeout-... and so on) stays there. Seeds are in tests/fuzz/corpus/TARGET.
# The exit status is 1 when a target crashed, ran past 20 s or 2 GB on one input, or lost memory.
set -u
folder=$1 seconds=$2
shift 2
words=("$@")
here=$(cd "$(dirname "$0")" && pwd)

# Inputs go to files, which had better not reach a disk.
memory=$(mktemp -d /dev/shm/apbench-fuzz-XXXXXX 2>/dev/null || mktemp -d) || exit 1
trap 'rm -rf "$memory"' EXIT
export TMPDIR=$memory

run_target() {
    local name=$1 log=$folder/$1.log options=() executions coverage found
    [ -e "$here/corpus/$name.dict" ] && options+=("-dict=$here/corpus/$name.dict")
    mkdir -p "$folder/corpus/$name"
    "$folder/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=8192 \
        -close_fd_mask=1 -print_final_stats=1 -artifact_prefix="$folder/$name-" "${options[@]}" \
        "$folder/corpus/$name" "$here/corpus/$name" >"$log" 2>&1
    local status=$?
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    if [ $status = 0 ]; then
        echo "fuzz $name: ${executions:-?} executions, $coverage places covered, ok"
        return 0
    fi
    found=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    echo "fuzz $name: ${executions:-?} executions, FAILED with status $status: $(
        grep -m 1 -E 'SUMMARY|does not hold|ERROR' "$log" || tail -n 1 "$log")"
    echo "    input ${found:-not written}, log $log"
    return 1
}

. "$here/../wanted.sh"

cores=$(nproc) status=0 running=0
for source in "$here"/*.c; do
    name=$(basename "$source" .c)
    [ "$name" != scratch ] && wanted "$name" || continue
    if [ $running -ge "$cores" ]; then
        wait -n || status=1
        running=$((running - 1))
    fi
    run_target "$name" &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do
    wait -n || status=1
    running=$((running - 1))
done
exit $status
