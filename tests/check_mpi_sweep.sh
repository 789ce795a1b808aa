# Sweeps over MPI: processes agree on what is run, on the reference that fidelity needs, on a timeout
# and on cells that want a larger launch; standard input reaches all.
. tests/checks/check.sh

# Open MPI itself leaves memory behind, so a sanitizer build does not look for leaks here.
export ASAN_OPTIONS=detect_leaks=0
launch="timeout 100 mpirun -n 2"

# expect NAME STATUS FILE ROWS WORD COMMAND...: the exit status, and how many rows of FILE hold WORD.
expect() {
    local name=$1 status=$2 file=$3 rows=$4 word=$5 code=0 found
    shift 5
    "$@" </dev/null >"$SCRATCH/out" 2>"$SCRATCH/err" || code=$?
    found=$(grep -c ",$word," "$file")
    if [ $code = "$status" ] && [ "$found" = "$rows" ]; then
        echo "ok $name"
    else
        echo "not ok $name: status $code, expected $status; $found rows $word, expected $rows:" \
            "$(tail -c 300 "$SCRATCH/err" | tr '\n' ' ')"
    fi
}

eval_csv=$SCRATCH/eval.csv
compared="--threads 1 --layers 2 --methods flash,star:anchor=64,ring --tasks niah_single_1 --lengths 512 --samples 2"
expect "eval with flash before others" 0 "$eval_csv" 3 ok \
    $launch "$APBENCH" eval --comm mpi $compared --hosts 2,3 --out "$eval_csv"

# What is compared with flash, as virtual hosts have it: KL, first token and errors by place, every
# figure of the rows that are not flash's. Virtual hosts attend the query at once, real ones merge, so
# that rounding differs: 1e-6 of a row in float32. Half a thousandth beside that is the figures' digits.
fidelity() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i ~ /^(kl|top1|error_.*)$/) kept[++n] = i; next }
        $4 != "flash" { for (i = 1; i <= n; i++) print $kept[i] }' "$1"
}
sim_csv=$SCRATCH/sim.csv
"$APBENCH" eval $compared --hosts 2 --out "$sim_csv" </dev/null 2>"$SCRATCH/err"
fidelity "$eval_csv" >"$SCRATCH/mpi.txt"
fidelity "$sim_csv" >"$SCRATCH/sim.txt"
alike=$(paste -d ' ' "$SCRATCH/mpi.txt" "$SCRATCH/sim.txt" | awk 'NF == 2 {
    d = $1 > $2 ? $1 - $2 : $2 - $1; if (d <= 5e-6 + 5e-4 * $2) alike++ } END { print alike + 0 }')
[ "$alike" = 12 ] && echo "ok fidelity as in sim" ||
    echo "not ok fidelity as in sim: $alike figures alike, expected 12; mpi: $(tr '\n' ' ' <"$SCRATCH/mpi.txt")" \
        "sim: $(tr '\n' ' ' <"$SCRATCH/sim.txt") $(tail -c 300 "$SCRATCH/err")"

# Killed behind the first of the second row's two samples, as the files would be left.
cut_csv=$SCRATCH/cut.csv
head -n 2 "$eval_csv" >"$cut_csv"
head -n 3 "${eval_csv%.csv}.samples.jsonl" >"${cut_csv%.csv}.samples.jsonl"
tail -n 1 "${eval_csv%.csv}.samples.jsonl" | head -c 100 >>"${cut_csv%.csv}.samples.jsonl"
expect "eval goes on behind the last sample" 0 "$cut_csv" 3 ok \
    $launch "$APBENCH" eval --comm mpi $compared --hosts 2,3 --out "$cut_csv"
grep -q ', 1 sample from before' "$SCRATCH/err" &&
    [ "$(wc -l <"${cut_csv%.csv}.samples.jsonl")" = 6 ] &&
    [ "$(fidelity "$cut_csv")" = "$(fidelity "$eval_csv")" ] && echo "ok to the sample, with the same figures" ||
    echo "not ok to the sample, with the same figures: $(tail -c 300 "$SCRATCH/err")"

speed_csv=$SCRATCH/speed.csv
sweep="$APBENCH speed --comm mpi --threads 1 --models tiny --methods ring,star --lengths 300 --reps 1"
expect "cells of a larger launch are left out" 0 "$speed_csv" 2 ok \
    $launch $sweep --hosts 2,3 --out "$speed_csv"
expect "and run by that launch" 0 "$speed_csv" 4 ok \
    timeout 100 mpirun -n 3 $sweep --hosts 2,3 --out "$speed_csv"

said=$(timeout 100 mpirun -n 1 $sweep --methods ring --hosts 2 --out "$SCRATCH/alone.csv" </dev/null 2>&1)
is "a launch with no cell to run says why" "1 cell wants more hosts than the 1 of this launch: left out
nothing to run" "$said"

said=$(timeout 100 mpirun -n 2 "$APBENCH" check ring --model tiny --lengths 300 --hosts 2 2>&1 >"$SCRATCH/out" </dev/null)
[ "$said" = "apbench: mpirun has started several processes, and each runs all hosts by itself: \
--comm mpi or nccl would make each a host" ] && [ "$(grep -c ', *2 hosts: ok' "$SCRATCH/out")" = 2 ] &&
    echo "ok processes that no links join are told so" ||
    echo "not ok processes that no links join are told so: $said $(cat "$SCRATCH/out")"

late_csv=$SCRATCH/late.csv
expect "a timeout fails its cell and the sweep goes on" 1 "$late_csv" 2 failed \
    $launch "$APBENCH" speed --comm mpi --threads 1 --methods ring,star --hosts 2 --lengths 4K \
    --layers 6 --reps 1 --warmup 0 --timeout 0.05 --out "$late_csv"

printf 'The capital of France is the city of' |
    $launch "$APBENCH" generate --comm mpi --threads 1 --hosts 2 --method ring --layers 2 --file - \
        --new-tokens 2 >"$SCRATCH/out" 2>&1 &&
    echo "ok standard input" || echo "not ok standard input: $(tail -c 300 "$SCRATCH/out")"

# Ranks of a machine share out the cores that they may run on; $1 is what each may, $2 what asks for threads.
# Prints threads:detail of the row, or what was said where there is none.
cores_of() {
    local csv=$SCRATCH/cores.csv
    rm -f "$csv" "${csv%.csv}.reps.csv"
    timeout 100 mpirun -n 2 --oversubscribe --bind-to none bash -c "taskset -c $1 \"\$@\"" - "$APBENCH" speed --comm mpi \
        --models tiny --methods ring --hosts 2 --lengths 300 --reps 1 --warmup 0 $2 --out "$csv" </dev/null 2>"$SCRATCH/err"
    local row
    row=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i } NR == 2 { print $at["threads"] ":" $at["detail"] }' "$csv")
    echo "${row:-$(tail -c 300 "$SCRATCH/err" | tr '\n' ' ')}"
}
mine=($(taskset -pc $$ | sed 's/.*: //; s/,/ /g')) # ranges of cores: the first of them
first=${mine[0]%-*}
is "two ranks on one core" "1:shared cores" "$(cores_of "$first" "")"
grep -q "(shared cores: no timing; " "$SCRATCH/err"
is "and it is said" 0 $?
is "they are left out of tables" 1 "$("$APBENCH" table "$SCRATCH/cores.csv" | grep -c "^1 row of hosts that share .* left out")"
second=$((first + 1))
if taskset -c $second true 2>/dev/null; then
    is "two ranks on two cores" "1:" "$(cores_of "$first,$second" "")"
    is "two ranks, each on its own core" "1:" "$(cores_of "\$(($first + OMPI_COMM_WORLD_RANK))" "")"
    is "more threads than cores" "2:shared cores" "$(cores_of "$first,$second" "--threads 2")"
fi

# Measured links: a line for each size, every figure above 0, and a link that a sweep takes. The largest
# transfer takes longer than a core is away for others: links whose times do not grow fit nothing.
for ranks in 2 3 4; do
    timeout 100 mpirun -n $ranks "$APBENCH" info --comm mpi --threads 1 --sizes 1K,1M,16M \
        </dev/null >"$SCRATCH/out" 2>"$SCRATCH/err"
    status=$?
    lines=$(grep -cE '^link .*bytes: +pairs 1 apart [0-9.e+]+ [um]s \([0-9.e+-]+ GB/s\).*; all_gather, a step [0-9.e+]+ [um]s .*; all_to_all, a message [0-9.e+]+ [um]s ' "$SCRATCH/out")
    link=$(sed -n 's/^fit .*both: --link \(custom:[^ ]*\) .*/\1/p' "$SCRATCH/out")
    if [ $status = 0 ] && [ "$lines" = 3 ] && [ "$(grep -cE '^bus .* bus +[0-9.]+ GB/s$' "$SCRATCH/out")" = 9 ] &&
        grep -qE '^slowdown .* alone, .* beside a send_recv .* slower' "$SCRATCH/out" &&
        [[ $link == custom:latency=*:bandwidth=*:collectives=* ]] &&
        "$APBENCH" speed --models tiny --methods ring --hosts 8 --lengths 1K --link "$link" --dry-run \
            >"$SCRATCH/dry" 2>>"$SCRATCH/err"; then
        echo "ok links of $ranks ranks"
    else
        echo "not ok links of $ranks ranks: status $status, $lines lines, link '$link':" \
            "$(tail -c 300 "$SCRATCH/err" | tr '\n' ' ')"
    fi
done
