# The mpi driver on four ranks (and its groups of 1, 2 and 3): data, failed runs, a stuck launch, a
# killed rank. Only that things end is timed, with generous limits: a hang is the failure.
program=$(dirname "$APBENCH")/tests/mpi_comm
if [ ! -x "$program" ]; then
    echo "skip mpi links: this build has no MPI"
    exit 0
fi

# Open MPI itself leaves memory behind, so a sanitizer build does not look for leaks here.
export ASAN_OPTIONS=detect_leaks=0

# launch LIMIT WORD [RANKS]: output in $SCRATCH/log, exit status returned; SECONDS tells how long it took
launch() {
    SECONDS=0
    OMP_NUM_THREADS=1 timeout -k 5 "$1" mpirun -n ${3:-4} --oversubscribe --bind-to none "$program" "$2" \
        >"$SCRATCH/log" 2>&1
}

good() { # good WORD NAME [RANKS]
    if launch 120 "$1" ${3:-}; then
        echo "ok mpi links: $2"
    else
        echo "not ok mpi links: $2: $(grep mpi_comm: "$SCRATCH/log" | head -n 1)"
        cat "$SCRATCH/log"
    fi
}

# ends WORD NAME TEXT: must end by itself, badly, and say TEXT exactly once
ends() {
    launch 60 "$1" # they take 3; mpirun's own status may be 137, as a timeout's is
    local status=$? said
    said=$(grep -c "$3" "$SCRATCH/log")
    if [ $status != 0 ] && [ $SECONDS -lt 60 ] && [ "$said" = 1 ]; then
        echo "ok mpi links: $2"
    else
        echo "not ok mpi links: $2: status $status after $SECONDS s, said $said times"
        cat "$SCRATCH/log"
    fi
}

good cases "every call, all groups, whole messages and pieces"
good failed "failed runs that leave the launch alive"
good left "what a failed run leaves unreceived is no message of the next"
good early "a host that fails in a run before others have come to it" 6
good clock "sharing, and waits as measured communication"
ends stuck "a host fails while others wait for it" "apbench: host 2: the moon is full"
ends late "a deadline while another host is late" "apbench: host 0: timeout: still in barrier"
ends killed "a killed rank ends the launch" "on signal 9"
