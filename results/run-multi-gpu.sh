#!/bin/bash
# The tables on several real GPUs, unattended, within eight minutes: is every method right over NCCL, how
# fast are the links and what do transfers cost attention, the cells of preset paper-table14 measured, the
# same cells projected over the link just fitted, and both side by side.
#
#     results/run-multi-gpu.sh [BUILD]        BUILD: where `make` and `make gpu-programs` built, default build
#
# Rows, logs and table.md go to results/local/multi-gpu (OUT=FOLDER: elsewhere); rows that are there
# already are not measured again. Each step has a time limit and a log of its own, and a failed step stops
# no other. The last lines say how each ended; status 1 when one failed or one that must run did not.
#
#     HOSTS=N     GPUs to use: 2, 4 or 8; default as many of these as there are
#     BUDGET=S    seconds for everything, default 470
#     PYTHON=P    a python with torch, for the comparison of links; default python3
#     SHARED=1    try the script on one GPU that HOSTS ranks (2) share: tiny sizes, times that mean nothing
#     DEVICE=cpu COMM=mpi     the same without a GPU, after `make tests`; as root mpirun wants
#                 OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
set -u
case ${1:-} in
--help | -h)
    sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0"
    exit 0
    ;;
esac
cd "$(dirname "$0")/.." || exit 2
build=${1:-build}
device=${DEVICE:-cuda} comm=${COMM:-nccl} budget=${BUDGET:-470} python=${PYTHON:-python3}
folder=${OUT:-results/local/multi-gpu}
program=$build/apbench
[ -x "$program" ] || { echo "run-multi-gpu: $program is not there: run make first" >&2; exit 2; }

gpus=0
[ "$device" = cpu ] || gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ')
hosts=${HOSTS:-}
if [ -z "$hosts" ]; then
    hosts=2
    [ "$gpus" -lt 4 ] || hosts=4
    [ "$gpus" -lt 8 ] || hosts=8
fi
case $hosts in
2 | 4 | 8) ;;
*)
    echo "run-multi-gpu: HOSTS=$hosts: the cells are those of 2, 4 or 8 hosts" >&2
    exit 2
    ;;
esac
small=
if [ "$device" = cpu ] || [ -n "${SHARED:-}" ]; then
    small=1
elif [ "$gpus" -lt "$hosts" ]; then
    echo "run-multi-gpu: $hosts hosts want as many GPUs, here are $gpus (SHARED=1 tries the script on one)" >&2
    exit 2
fi
mkdir -p "$folder" || exit 2

# What is run: lengths of whole models, and those of which a few layers are measured and projected alike;
# what is measured whole after that, in what time is left; the projections, which GPUs take in turn; and
# the seconds that these need. The fewer GPUs there are, the longer a cell takes and the fewer share the
# projections: on two, flash and five methods at 128K alone would take more than all projections may.
preset="--preset paper-table14 --device $device --hosts $hosts"
methods=ulysses,ring,zigzag,star,apb:schedule=table14
sizes=64K,256K,1M,4M,16M,64M,256M,1G
case $hosts in
2)
    whole=32K,64K cut=("128K 8" "256K 2" "512K 1") extra=(128K)
    jobs=("64K 0" "512K 1" "128K 8" "256K 2" "32K 0") projecting=140
    ;;
4)
    whole=32K,64K,128K cut=("256K 2" "512K 1") extra=(256K)
    jobs=("128K 0" "512K 1" "256K 2" "32K,64K 0") projecting=155
    ;;
8)
    whole=32K,64K,128K cut=("256K 4" "512K 2") extra=(256K 512K)
    jobs=("128K 0" "512K 2" "256K 4" "32K,64K 0") projecting=140
    ;;
esac
if [ -n "$small" ]; then
    model=tiny
    [ "$device" = cpu ] || model=small # its heads are of 64, which that device has kernels for
    preset="$preset --models $model --threads 1"
    methods=ulysses,ring,zigzag,star,apb
    sizes=64K,128M # so far apart that times grow on a busy machine, too
    whole=1K,2K cut=("4K 2" "4K 1") extra=(4K)
    jobs=("2K 0" "4K 1" "4K 2" "1K 0")
fi

# launch PROGRAM ARGUMENTS...: an apbench command on all hosts.
launch() {
    if [ "$comm" = nccl ]; then
        "$@" --device "$device" --comm nccl --spawn "$hosts"
    else
        mpirun -n "$hosts" "$@" --device "$device" --comm "$comm"
    fi
}

# ---- Steps ----

# Everything that a step runs takes part in its time limit, so steps are functions in a shell of their own.
outcomes=() bad=0
started=$SECONDS

left() {
    echo $((budget - SECONDS + started))
}

# step must|may NAME LIMIT RESERVE FUNCTION ARGUMENTS...: runs it for LIMIT seconds at most, and so that
# RESERVE seconds are left (of 470; of another budget in proportion). What may run may also be cut short or
# left out.
step() {
    local kind=$1 name=$2 limit=$3 allowed code since=$SECONDS said=ok
    allowed=$(($(left) - $4 * budget / 470))
    shift 4
    [ "$allowed" -lt "$limit" ] || allowed=$limit
    if [ "$allowed" -lt 10 ]; then
        said="left out: no time"
        [ "$kind" = may ] || bad=1
    else
        echo "---- $name (at most $allowed s)"
        timeout -k 5 "$allowed" bash -c '"$@"' step "$@" >"$folder/$name.log" 2>&1 </dev/null
        code=$?
        case $code in
        0) ;;
        77) said="left out: $(tail -n 1 "$folder/$name.log")" ;;
        124 | 137)
            said="cut short after $allowed s"
            [ "$kind" = may ] || bad=1
            ;;
        *)
            said="FAILED with status $code: $folder/$name.log"
            bad=1
            ;;
        esac
        said="$said ($((SECONDS - since)) s)"
        tail -n "${show:-5}" "$folder/$name.log"
    fi
    outcomes+=("$(printf '%-24s %s' "$name" "$said")")
}

correct() {
    if [ "$comm" = nccl ]; then
        "$build/tests/gpu/comm_nccl" whole "$hosts"
    else
        mpirun -n "$hosts" "$build/tests/mpi_comm"
    fi
}

measure_links() {
    if [ -s "$folder/link.txt" ] && [ -s "$folder/info.txt" ]; then # projections are over this link
        cat "$folder/info.txt"
        return 0
    fi
    launch "$program" info --sizes "$sizes" | tee "$folder/info.txt.fresh"
    local code=${PIPESTATUS[0]}
    [ "$code" = 0 ] || return "$code"
    mv "$folder/info.txt.fresh" "$folder/info.txt"
    sed -n 's/^fit .*both: --link \(custom:[^ ]*\) .*/\1/p' "$folder/info.txt" >"$folder/link.txt"
    [ -s "$folder/link.txt" ]
}

# In cells send_recv has few blocks (harness/comm/nccl/process.h), so that attention beside it keeps its
# multiprocessors, and collectives what NCCL chooses by itself, as torch has it. With as many as NCCL would
# choose: what few cost send_recv, and what of it is compared with torch on equal terms. Collectives are
# told the same here, so they are compared as cells have them.
wide_links() {
    [ "$comm" = nccl ] || { echo "only NCCL's transfers have blocks"; return 77; }
    if [ ! -s "$folder/info-wide.txt" ]; then
        NCCL_MAX_CTAS=64 NCCL_CGA_CLUSTER_SIZE=4 launch "$program" info --sizes "$sizes" \
            >"$folder/info-wide.txt.fresh" || return
        mv "$folder/info-wide.txt.fresh" "$folder/info-wide.txt"
    fi
    cat "$folder/info-wide.txt"
}

torch_links() {
    "$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("torch"))' ||
        { echo "$python has no torch"; return 77; }
    local backend=nccl ours=$folder/info-wide.txt
    [ "$device" = cuda ] || backend=gloo ours=$folder/info.txt
    { [ -s "$ours" ] && [ -s "$folder/info.txt" ]; } || { echo "the links have not been measured"; return 77; }
    [ -z "${SHARED:-}" ] || { echo "torch's NCCL wants a GPU for each rank"; return 77; }
    "$python" tests/peer/gpu/links.py --hosts "$hosts" --ours "$ours" --cells "$folder/info.txt" \
        --backend $backend
}

# measure LENGTHS LAYERS
measure() {
    launch "$program" speed $preset --methods "$methods" --lengths "$1" --layers "$2" \
        --out "$folder/measured.csv"
}

# One GPU's share of the projections, one behind another; flash, on one host, is measured by them too.
# project GPU "LENGTHS LAYERS"...
project() {
    local gpu=$1 code=0 lengths layers
    shift
    for job in "$@"; do
        read -r lengths layers <<<"$job"
        CUDA_VISIBLE_DEVICES=$gpu "$program" speed $preset --methods "flash,$methods" --lengths "$lengths" \
            --layers "$layers" --warmup 0 --link "$links" --out "$folder/projected-gpu$gpu.csv" || code=1
    done
    return $code
}

# All projections, on all GPUs at once: they do not share anything.
project_all() {
    [ -s "$folder/link.txt" ] || { echo "no link has been fitted"; return 1; }
    links=$(cat "$folder/link.txt")
    case $links in # and without it, to see what it is worth
    *:slowdown=*) links=$links,${links%:slowdown=*} ;;
    esac
    local slots=1 code=0 slot i pids=()
    [ -n "$small" ] || slots=$hosts
    for ((slot = 0; slot < slots && slot < ${#jobs[@]}; slot++)); do
        local mine=()
        for ((i = slot; i < ${#jobs[@]}; i += slots)); do
            mine+=("${jobs[i]}")
        done
        project "$slot" "${mine[@]}" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do
        wait "$i" || code=1
    done
    return $code
}

# All rows in one file, as `table` reads them.
tables() {
    local file first=1 header
    for file in "$folder"/measured.csv "$folder"/projected-gpu*.csv; do
        case $file in *.reps.csv) continue ;; esac
        [ -s "$file" ] || continue
        if [ $first = 1 ]; then
            header=$(head -n 1 "$file")
            echo "$header"
            first=0
        elif [ "$(head -n 1 "$file")" != "$header" ]; then
            echo "$file has other columns" >&2
            return 1
        fi
        tail -n +2 "$file"
    done >"$folder/speed.csv"
    [ $first = 0 ] || { echo "no rows"; return 1; }
    "$program" table "$folder/speed.csv" --preset paper-table14 >"$folder/table.md.fresh" || return 1
    mv "$folder/table.md.fresh" "$folder/table.md"
    sed -n '/^## Measured against/,/^---/p' "$folder/table.md"
}

export -f launch correct measure_links wide_links torch_links measure project project_all tables
export build device comm python folder program hosts small preset methods sizes
# Arrays are not exported: the one step that needs this gets it as a definition.
jobs_definition=$(declare -p jobs)
project_step() {
    eval "$jobs_definition"
    project_all
}
export -f project_step
export jobs_definition

step must correctness 75 320 correct
step must links 70 280 measure_links
step may links-wide 40 300 wide_links
show=40 step may links-torch 80 260 torch_links
step must measured-whole 180 $((projecting + 25)) measure "$whole" 0
for one in "${cut[@]}"; do
    read -r length layers <<<"$one"
    step may "measured-$length-$layers-layers" 80 $((projecting + 15)) measure "$length" "$layers"
done
step must projected 240 15 project_step
show=60 step must table 20 0 tables
for length in "${extra[@]}"; do
    step may "measured-$length-whole" 300 20 measure "$length" 0
done
show=60 step must table-all 20 -10 tables

echo
echo "==== $hosts hosts, $comm on $device, $((SECONDS - started)) s"
[ -z "$small" ] || echo "TRIED WITH TINY SIZES: none of these times means anything"
if [ "$comm" = nccl ] && [ -f "$folder/correctness.log" ]; then
    grep -cE '^ok ' "$folder/correctness.log" | sed 's/$/ cases right/'
    grep -E '^not ok ' "$folder/correctness.log"
fi
[ ! -s "$folder/info.txt" ] || grep -E '^(slowdown|fit) ' "$folder/info.txt"
printf '%s\n' "${outcomes[@]}"
echo "Rows: $folder/measured.csv, projected-gpu*.csv, together speed.csv; tables: $folder/table.md; link: $folder/link.txt"
exit $bad
