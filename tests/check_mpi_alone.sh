# A process of a launch that fails by itself outside a run: none of the others waits for it for ever,
# one sentence says which host it was, and where that is a result (a model that does not fit) the sweep
# goes on. And a bad flag is said once.
program=$(dirname "$APBENCH")/tests/mpi_lame
if [ ! -x "$program" ]; then
    echo "skip mpi alone: this build has no MPI"
    exit 0
fi

# Open MPI itself leaves memory behind, so a sanitizer build does not look for leaks here.
export ASAN_OPTIONS=detect_leaks=0
launch="timeout -k 5 60 mpirun -n 2"
random=tests/data/checkpoints/yi-sharded-f32
threads="--comm mpi --threads 1"

# says NAME SENTENCE COMMAND...: it ends badly, by itself, and prints the sentence and no other.
says() {
    local name=$1 sentence=$2 status said
    shift 2
    "$@" </dev/null >"$SCRATCH/out" 2>"$SCRATCH/err"
    status=$?
    said=$(grep '^apbench: ' "$SCRATCH/err")
    if [ $status != 0 ] && [ $status != 124 ] && [ $status != 137 ] && [[ "$said" == $sentence ]]; then
        echo "ok mpi alone: $name"
    else
        echo "not ok mpi alone: $name: status $status, said '$said', expected '$sentence'"
        cat "$SCRATCH/err"
    fi
}

# rows NAME STATUS FILE PATTERN COUNT COMMAND...: the exit status, and how many rows have the pattern.
rows() {
    local name=$1 expected=$2 file=$3 pattern=$4 count=$5 status found
    shift 5
    "$@" </dev/null >"$SCRATCH/out" 2>"$SCRATCH/err"
    status=$?
    found=$(grep -cE "$pattern" "$file")
    if [ $status = "$expected" ] && [ "$found" = "$count" ]; then
        echo "ok mpi alone: $name"
    else
        echo "not ok mpi alone: $name: status $status, expected $expected; $found rows instead of $count"
        tail -n 5 "$SCRATCH/err"
    fi
}

says "a device that does not open" "apbench: host 1: device cpu: the moon is full" \
    $launch "$program" 1 closed generate $threads --model $random --prompt "<1><2>"
says "the leader's device" "apbench: host 0: device cpu: the moon is full" \
    $launch "$program" 0 closed speed $threads --models tiny --out "$SCRATCH/none.csv"
says "weights that do not fit" "apbench: host 1: out of memory: the weights of *" \
    $launch "$program" 1 1000 generate $threads --model $random --prompt "<1><2>"
says "a model missing on one machine" "apbench: host 1: */nowhere*" \
    timeout -k 5 60 mpirun -n 1 "$APBENCH" generate $threads --model $random --prompt "<1><2>" \
    : -n 1 "$APBENCH" generate $threads --model /nowhere --prompt "<1><2>"
says "a model missing on one machine, in a sweep" "apbench: host 1: */nowhere*" \
    timeout -k 5 60 mpirun -n 1 "$APBENCH" speed $threads --models $random --out "$SCRATCH/none.csv" \
    : -n 1 "$APBENCH" speed $threads --models /nowhere --out "$SCRATCH/none.csv"
says "a results file that cannot be written" "apbench: host 0: */proc/none*" \
    $launch "$APBENCH" speed $threads --models tiny --lengths 300 --out /proc/none/speed.csv
says "a prompt that cannot be read" "apbench: host 0: /nowhere*" \
    $launch "$APBENCH" generate $threads --model $random --file /nowhere
"$APBENCH" data --tasks niah_single_1 --lengths 512 --samples 1 --out "$SCRATCH/data" >"$SCRATCH/out" 2>&1
file=$SCRATCH/data/512/niah_single_1/validation.jsonl
says "samples missing on one machine" "apbench: host 1: */nowhere*" \
    timeout -k 5 60 mpirun -n 1 "$APBENCH" eval $threads --layers 1 --tasks niah_single_1 \
    --file "$file" --lengths 512 --out "$SCRATCH/none.csv" \
    : -n 1 "$APBENCH" eval $threads --layers 1 --tasks niah_single_1 \
    --file /nowhere --lengths 512 --out "$SCRATCH/none.csv"

csv=$SCRATCH/speed.csv
rows "weights that do not fit are rows of a sweep" 0 "$csv" ',oom,"?host 1: out of memory: the weights' 2 \
    $launch "$program" 1 1000 speed $threads --models tiny --methods ring,star --hosts 2 \
    --lengths 300 --reps 1 --out "$csv"
csv=$SCRATCH/eval.csv
rows "and of an eval" 0 "$csv" ',oom,"?host 1: out of memory: the weights' 2 \
    $launch "$program" 1 1000 eval $threads --layers 1 --tasks niah_single_1 --methods flash,star \
    --hosts 2 --lengths 512 --samples 1 --out "$csv"
# With one layer, the weights are two allocations; flash runs on host 0 alone.
csv=$SCRATCH/eval-arena.csv
rows "an arena that does not fit, in an eval" 0 "$csv" ',oom,"?host [01]: out of memory: [0-9]{6,} bytes' 1 \
    $launch "$program" 1 after:2 eval $threads --layers 1 --tasks niah_single_1 --methods flash,star \
    --hosts 2 --lengths 512 --samples 1 --out "$csv"
rows "where the others have their rows" 0 "$csv" ',ok,' 1 true
csv=$SCRATCH/arena.csv
rows "an arena that does not fit one host" 0 "$csv" ',oom,"?host [01]: out of memory: [0-9]+ bytes' 2 \
    $launch "$program" 1 8000000 speed $threads --models tiny --methods ring,star --hosts 2 \
    --lengths 16K --reps 1 --out "$csv"

# What a machine has is all its ranks': in each of these it would do for one. flash is on one host, and
# the others hold nothing but weights.
csv=$SCRATCH/machine.csv
rows "hosts that do not fit beside each other" 0 "$csv" ',oom,"?4 processes on one machine need [0-9]+ bytes' 1 \
    timeout -k 5 60 mpirun -n 4 "$program" 0 free:20000000 speed $threads --models tiny \
    --methods flash,ring --hosts 4 --lengths 8K --reps 1 --warmup 0 --out "$csv"
rows "where one has its row" 0 "$csv" ',ok,' 1 true
says "weights that do not fit beside each other" \
    "apbench: host 1: out of memory: the weights of yi-sharded-f32 * in each of 2 processes of one machine*" \
    $launch "$program" 1 free:400000 generate $threads --model $random --prompt "<1><2>"
csv=$SCRATCH/eval-machine.csv
rows "and of an eval" 0 "$csv" ',oom,"?host 1: out of memory: .* in each of 2 processes of one machine' 2 \
    $launch "$program" 1 free:200000000 eval $threads --layers 1 --tasks niah_single_1 --methods flash,star \
    --hosts 2 --lengths 512 --samples 1 --out "$csv"
timeout -k 5 60 mpirun -n 1 "$program" 0 free:400000 generate $threads --model $random --prompt "<1><2>" \
    </dev/null >"$SCRATCH/out" 2>&1 && echo "ok mpi alone: weights that fit alone" ||
    echo "not ok mpi alone: weights that fit alone: $(tail -c 300 "$SCRATCH/out")"
$launch "$program" 0 free:1000000 info $threads --sizes 1K,32K,100K </dev/null >"$SCRATCH/out" 2>&1
grep -q '^note  *1 larger size is left out' "$SCRATCH/out" && echo "ok mpi alone: transfers that do not fit" ||
    echo "not ok mpi alone: transfers that do not fit: $(tail -c 300 "$SCRATCH/out")"

for command in "speed --models tiny" "eval --tasks niah_single_1" \
    "generate --model $random --prompt <1><2>"; do
    says "a bad flag of ${command%% *} is said once" "apbench: there is no flag --nonsense*" \
        $launch "$APBENCH" $command $threads --nonsense 3
    says "a bad method of ${command%% *} is said once" "apbench: *nonsense*" \
        $launch "$APBENCH" $command $threads $([[ $command == gen* ]] && echo --method || echo --methods) nonsense
done
says "a bad --profile is said once" "apbench: host 0: --profile 99: *" \
    $launch "$APBENCH" speed $threads --models tiny --profile 99
says "a bad flag of info is said once" "apbench: there is no flag --nonsense*" \
    $launch "$APBENCH" info $threads --nonsense 3
says "links that one host lacks" "apbench: one host has no links*" \
    timeout -k 5 60 mpirun -n 1 "$APBENCH" info $threads
says "a bad flag of one process only" "apbench: host 1: there is no flag --nonsense*" \
    timeout -k 5 60 mpirun -n 1 sleep 10 : -n 1 "$APBENCH" generate $threads --nonsense 3
