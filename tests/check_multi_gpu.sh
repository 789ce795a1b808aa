#!/bin/bash
# results/run-multi-gpu.sh, which is to run unattended on machines that few have, end to end at tiny sizes on
# this one, with two MPI processes in the place of GPUs: the comparison that it leaves, and that a second call
# measures nothing again.
set -u

. tests/checks/check.sh

build=$(dirname "$APBENCH")
export ASAN_OPTIONS=detect_leaks=0 # Open MPI itself leaves memory behind

several() {
    HOSTS=2 DEVICE=cpu COMM=mpi OUT=$SCRATCH/several results/run-multi-gpu.sh "$build"
}

# Five methods at 1K, 2K and twice at 4K, with all layers and with one.
tables_of_several() {
    several >"$SCRATCH/several.log" || { grep -E 'FAILED|cut short' "$SCRATCH/several.log" | tail -n 1; return 1; }
    sed -n '/^## Measured against/,$p' "$SCRATCH/several/table.md" >"$SCRATCH/compared"
    local cells
    cells=$(awk -F '|' '$6 ~ /2/ && $10 > 0 {print $2 $5 $7}' "$SCRATCH/compared" | sort -u | wc -l)
    [ "$cells" = 20 ] || { echo "$cells cells are compared, not 20"; return 1; }
}

nothing_measured_twice() {
    cp "$SCRATCH/several/measured.csv" "$SCRATCH/before" && several >"$SCRATCH/several.log" &&
        cmp "$SCRATCH/before" "$SCRATCH/several/measured.csv"
}

if [ -x "$build/tests/mpi_comm" ]; then
    check tables_of_several_gpus tables_of_several
    check nothing_measured_twice nothing_measured_twice
else
    echo "skip tables of several GPUs: this build has no MPI"
fi
