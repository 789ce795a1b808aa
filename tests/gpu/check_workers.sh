#!/bin/bash
# eval --workers on one GPU: rows and samples are those of one process, and how much sooner they are
# there; a worker that dies is named, and the same command goes on. Needs the default model in the cache.
#
#     tests/gpu/check_workers.sh BUILD        COUNTS="2 4 8 12 16" SAMPLES=24 LENGTH=4K
#
# MPS=1 does the same once more under NVIDIA's MPS, by a daemon of its own, where that is installed: then
# kernels of several processes run at the same time, and not in turns.
set -u
program=$(realpath -m "${1:-build}/apbench")
bad=0
counts=${COUNTS:-"2 4 8 12 16"} samples=${SAMPLES:-24} length=${LENGTH:-4K}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$program" info --device cuda >/dev/null 2>"$folder/said" || {
    echo "skip workers: $(tail -n 1 "$folder/said")"
    exit 77
}

# evaluate OUT WORKERS: seconds that it took, or its last words and status 1
evaluate() {
    local began=$EPOCHREALTIME
    "$program" eval --device cuda --models smollm2 --methods flash,star,apb --hosts 8 --lengths "$length" \
        --tasks niah_multikey_1,vt --samples "$samples" --workers "$2" --out "$1" 2>"$folder/said" </dev/null ||
        { echo "status $?: $(tail -n 1 "$folder/said")"; return 1; }
    python3 -c "print(round($EPOCHREALTIME - $began, 2))"
}

# alike A B: rows and samples but for times, and the first difference
alike() {
    python3 - "$1" "$2" <<'PYTHON'
import csv, json, sys
TIMES = ("date", "seconds", "workers")
def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]
def samples(path):
    found = {}
    for line in open(path[:-4] + ".samples.jsonl", encoding="utf-8"):
        sample = json.loads(line)
        place = (sample["row"], sample["sample"])
        if place in found:
            sys.exit(f"sample {place} is there twice")
        found[place] = {k: v for k, v in sample.items() if k not in ("seconds", "document", "query")}
    return found
a, b = rows(sys.argv[1]), rows(sys.argv[2])
if len(a) != len(b):
    sys.exit(f"{len(a)} rows and {len(b)}")
for x, y in zip(a, b):
    for name in x:
        if x[name] != y[name]:
            sys.exit(f"row {x['row']}: {name} is {x[name]} and {y[name]}")
a, b = samples(sys.argv[1]), samples(sys.argv[2])
if a.keys() != b.keys():
    sys.exit(f"{len(a)} samples and {len(b)}")
for place in a:
    for name in a[place]:
        if a[place][name] != b[place][name]:
            sys.exit(f"sample {place}: {name} is {a[place][name]} and {b[place][name]}")
PYTHON
}

# compare SUFFIX: all counts against one process
compare() {
    local alone seconds difference
    alone=$(evaluate "$folder/1$1.csv" 1) || { echo "not ok one process$1: $alone"; bad=1; return; }
    echo "ok one process$1: $((6 * samples)) samples in $alone s"
    for count in $counts; do
        if ! seconds=$(evaluate "$folder/$count$1.csv" "$count"); then
            echo "not ok $count workers$1: $seconds"
            bad=1
        elif ! difference=$(alike "$folder/1$1.csv" "$folder/$count$1.csv" 2>&1); then
            echo "not ok $count workers$1: $difference (after $seconds s)"
            bad=1
        else
            echo "ok $count workers$1: the same, in $seconds s, $(python3 -c "print(round($alone / $seconds, 2))") times as fast"
        fi
    done
}

dead_worker() {
    local out=$folder/dead.csv pid status=0 worker
    "$program" eval --device cuda --models smollm2 --methods flash,star,apb --hosts 8 --lengths "$length" \
        --tasks niah_multikey_1,vt --samples "$samples" --workers 4 --out "$out" 2>"$folder/dead" </dev/null &
    pid=$!
    for _ in $(seq 1200); do
        [ "$(cat "${out%.csv}.samples.jsonl" 2>/dev/null | wc -l)" -ge $((samples + samples / 3)) ] && break
        sleep 0.05
    done
    worker=$(pgrep -P $pid | tail -n 1)
    kill -9 "$worker"
    wait $pid || status=$?
    if [ $status = 1 ] && grep -q 'worker [123] was killed by signal 9 (Killed) at sample .* of smollm2' "$folder/dead"; then
        echo "ok a dead worker: $(tail -n 1 "$folder/dead")"
    else
        echo "not ok a dead worker: status $status, $(tail -n 1 "$folder/dead")"
        bad=1
    fi
    local seconds difference
    if seconds=$(evaluate "$out" 4) && difference=$(alike "$folder/1.csv" "$out" 2>&1) &&
        grep -q 'from before' "$folder/said"; then
        echo "ok and the same command goes on"
    else
        echo "not ok and the same command goes on: $seconds ${difference:-} $(tail -n 1 "$folder/said")"
        bad=1
    fi
}

compare ""
dead_worker
if [ -n "${MPS:-}" ]; then
    if command -v nvidia-cuda-mps-control >/dev/null; then
        export CUDA_MPS_PIPE_DIRECTORY=$folder/mps CUDA_MPS_LOG_DIRECTORY=$folder/mps
        mkdir "$folder/mps"
        nvidia-cuda-mps-control -d && compare " under MPS"
        echo quit | nvidia-cuda-mps-control
    else
        echo "skip MPS: nvidia-cuda-mps-control is not installed"
    fi
fi
exit $bad
