#!/bin/bash
# The nccl links as a user meets them, four ranks on one GPU: a sweep over groups of the launch, its
# rows marked, a rank killed in mid-cell, a cell that takes too long.
#
#     tests/gpu/check_nccl.sh BUILD
#
# Prints lines like those of the test programs; status 1 when one is bad. Takes about 40 s.
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0} # where there are more, ranks would not share one
CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES%%,*}
apbench=$1/apbench
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
bad=0
verdict() { # verdict CONDITION NAME WHY
    if [ "$1" = 0 ]; then
        echo "ok nccl: $2"
    else
        echo "not ok nccl: $2: $3"
        tail -n 20 "$scratch/said"
        bad=1
    fi
}

sweep="$apbench speed --device cuda --comm nccl --spawn 4 --models small --layers 2 --warmup 0"
csv=$scratch/speed.csv

$sweep --methods flash,ring,apb --hosts 2,4 --lengths 2K --reps 1 --out "$csv" >"$scratch/said" 2>&1
status=$?
rows=$(grep -c ',ok,' "$csv") marked=$(grep -c 'shared GPU' "$csv")
[ $status = 0 ] && [ "$rows" = 5 ] && [ "$marked" = 5 ]
verdict $? "a sweep over 1, 2 and 4 hosts of one launch" "status $status, $rows rows ok, $marked marked"

# Rank 2 is killed in a cell that would take minutes; the file has two rows before.
csv=$scratch/killed.csv
$sweep --methods apb,ring --hosts 4 --lengths 16K --reps 1 --out "$csv" >"$scratch/said" 2>&1
$sweep --methods apb,ring --hosts 4 --lengths 16K --reps 3000 --warmup 0 --out "$csv" \
    >"$scratch/said" 2>&1 &
supervisor=$!
victim= # whose environment says so, among the supervisor's children
for i in $(seq 600); do
    for child in $(pgrep -P $supervisor); do
        tr '\0' '\n' <"/proc/$child/environ" 2>/dev/null | grep -qx APBENCH_RANK=2 && victim=$child
    done
    [ -n "$victim" ] && break
    sleep 0.05
done
sleep 12
begin=$(date +%s%N)
kill -KILL "${victim:-$supervisor}" # no rank was found: the launch ends too, and the verdict is bad
wait $supervisor
status=$?
ms=$((($(date +%s%N) - begin) / 1000000))
said=$(grep '^apbench: ' "$scratch/said")
pattern='^apbench: host 2 died in cell `small [a-z]+, 4 hosts, length 16K`, layer [0-9]+$'
[ $status = 1 ] && [ $ms -lt 6000 ] && [[ "$said" =~ $pattern ]]
verdict $? "a rank killed in mid-cell, after $ms ms: $said" "status $status"
found=$(python3 -c 'import csv, sys
text = open(sys.argv[1], newline="").read()
rows = list(csv.reader(text.splitlines()))
print(len(rows), len({len(row) for row in rows}), text.endswith("\n"))' "$csv")
[ "$found" = "3 1 True" ]
verdict $? "the CSV is whole" "rows, widths, whole last line: $found instead of 3 1 True"

# Measured links: figures above 0, a link that a sweep takes, and a word on what they are worth.
"$apbench" info --device cuda --comm nccl --spawn 4 --sizes 1K,1M,16M >"$scratch/said" 2>&1
status=$?
lines=$(grep -cE '^link .*bytes: +pairs 1 apart [0-9.e+]+ [um]s .*, 2 apart .*; all_gather, a step [0-9.e+]+ [um]s .*; all_to_all, a message [0-9.e+]+ [um]s ' \
    "$scratch/said")
link=$(sed -n 's/^fit .*both: --link \(custom:[^ ]*\) .*/\1/p' "$scratch/said")
[ $status = 0 ] && [ "$lines" = 3 ] && [ "$(grep -cE '^bus .* bus +[0-9.]+ GB/s$' "$scratch/said")" = 9 ] &&
        grep -qE '^slowdown .* alone, .* beside a send_recv .* slower' "$scratch/said" &&
        [[ $link == custom:latency=*:bandwidth=*:collectives=* ]] &&
    grep -q '^note .*shared GPU.*mean nothing' "$scratch/said" &&
    "$apbench" speed --models tiny --methods ring --hosts 8 --link "$link" --dry-run >"$scratch/dry" 2>&1
verdict $? "links measured by four ranks: $link" "status $status, $lines lines"

# What is wrong is said once, be it found before the ranks start, or by all of them.
for wrong in "info --nonsense" "speed --methods nonsense" "eval --hosts 0" "generate --prompt x --hosts x" \
    "generate --prompt x --model /nowhere" "speed --models /nowhere" "eval --models /nowhere"; do
    "$apbench" $wrong --device cuda --comm nccl --spawn 4 >"$scratch/said" 2>&1 </dev/null
    status=$?
    [ $status != 0 ] && [ "$(grep -c '^apbench: ' "$scratch/said")" = 1 ] && [ "$(wc -l <"$scratch/said")" = 1 ]
    verdict $? "$wrong: said once" "status $status, $(wc -l <"$scratch/said") lines"
done

csv=$scratch/late.csv
begin=$(date +%s%N)
$sweep --methods ring --hosts 4 --lengths 16K --reps 3000 --timeout 3 --out "$csv" \
    >"$scratch/said" 2>&1
status=$?
ms=$((($(date +%s%N) - begin) / 1000000))
said=$(grep '^apbench: ' "$scratch/said")
pattern='^apbench: .* in cell `small ring, 4 hosts, length 16K`.*: timeout,'
[ $status = 1 ] && [[ "$said" =~ $pattern ]]
verdict $? "a cell past its --timeout, $ms ms in all: $said" "status $status"
exit $bad
