# NVTX ranges of one profiled cell, recorded by a small injection library instead of Nsight. DEVICE=cuda
# tries the same on a GPU (make test-gpu), LAYERS, LENGTH and MODEL larger cells.
set -u
recorder=$(dirname "$APBENCH")/tests/nvtx_recorder.so
if [ ! -e "$recorder" ]; then
    echo "skip ranges: the build has no NVTX header"
    exit 0
fi
device=${DEVICE:-cpu} layers=${LAYERS:-4} length=${LENGTH:-1K} model=${MODEL:-smollm2}
case $length in *K) tokens=$((${length%K} * 1024)) ;; *) tokens=$length ;; esac
document=$((tokens - 50))

# record NAME COMMAND...: leaves recordings as $SCRATCH/NAME.PID
record() {
    local name=$1
    shift
    NVTX_INJECTION64_PATH=$recorder NVTX_RECORDING=$SCRATCH/$name "$@" >"$SCRATCH/$name-out" 2>&1 </dev/null ||
        echo "not ok $name: $(tail -c 300 "$SCRATCH/$name-out")"
    sed 's/^/# /' "$SCRATCH/$name-out"
}
profile="$APBENCH speed --device $device --models $model --layers $layers --lengths $length --new-tokens 2"

record sim $profile --hosts 4 --methods apb:anchor=64:passing=64:compressor=query --profile 1
block=$(((document + 3) / 4))
python3 tests/checks/ranges.py "$SCRATCH"/sim.* $layers 4 $((64 + block + 50)) \
    qkv,compress,attention,o_proj,ffn 2>&1 | sed 's/^ok /ok sim: /'

record ulysses $profile --hosts 3 --methods ulysses --profile ulysses
python3 tests/checks/ranges.py "$SCRATCH"/ulysses.* $layers 3 $(((document + 2) / 3)) \
    qkv,attention,o_proj,ffn,other 2>&1 | sed 's/^ok /ok ulysses: /'

# Without a tool the same cell must give the same output, and no file.
$profile --hosts 4 --methods star --profile 1 >"$SCRATCH/bare" 2>&1 </dev/null
grep -q '^difference' "$SCRATCH/bare" && ok=ok || ok="not ok"
echo "$ok profile without a tool: $(tail -n 1 "$SCRATCH/bare")"

if [ $device = cpu ] && command -v mpirun >/dev/null && "$APBENCH" list comms | grep -q '^mpi'; then
    record mpi mpirun -n 2 $profile --comm mpi --hosts 2 --methods ring --profile 1
    for recording in "$SCRATCH"/mpi.*; do
        # Ranks share cores here: time goes by between a range's end and the next one's start.
        python3 tests/checks/ranges.py "$recording" $layers 1 $(((document + 1) / 2)) \
            qkv,attention,o_proj,ffn 0.9 2>&1 | sed 's/^ok /ok mpi: /'
    done
fi
