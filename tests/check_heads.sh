#!/bin/bash
# apbench heads as a user calls it: training that is killed and goes on to the same file, its measure,
# heads that `eval` reads, and what is said of wrong flags. Two layers of the default model.
set -u

. tests/checks/check.sh

rows=$SCRATCH/data/512/niah_single_1/validation.jsonl
train() { "$APBENCH" heads train --layers 2 --width 16 --held-out 2 --save-every 3 --data "$rows" "$@"; }

makes_samples() {
    "$APBENCH" data --tasks niah_single_1 --lengths 512 --samples 12 --seed 99 --out "$SCRATCH/data"
}

# The measure of the end: one line a layer, and the mean, each with overlap and two recalls.
trains_and_measures() {
    train --out "$SCRATCH/whole" >"$SCRATCH/measure" &&
        [ ! -e "$SCRATCH/whole.state" ] &&
        [ "$(awk '/^(0|1|mean) / && NF == 4 && $2 >= 0 && $2 <= 1' "$SCRATCH/measure" | wc -l)" = 3 ]
}

# The same, killed once it has written its first state.
goes_on_after_kill() {
    train --steps 40 --out "$SCRATCH/unbroken" >/dev/null || return 1
    train --steps 40 --out "$SCRATCH/killed" >/dev/null &
    local pid=$!
    for _ in $(seq 3000); do
        [ -e "$SCRATCH/killed.state" ] && break
        sleep 0.01
    done
    kill -9 $pid
    wait $pid 2>/dev/null
    [ -e "$SCRATCH/killed.state" ] || { echo "it was over before it was killed"; return 1; }
    [ ! -e "$SCRATCH/killed" ] || { echo "it was over before it was killed"; return 1; }
    train --steps 40 --out "$SCRATCH/killed" >/dev/null && cmp "$SCRATCH/unbroken" "$SCRATCH/killed"
}

eval_reads_what_train_wrote() {
    "$APBENCH" heads eval --layers 2 --retaining-heads "$SCRATCH/whole" --data "$rows" >"$SCRATCH/all" &&
        grep -q '^12 prompts, 12 of them with needles' "$SCRATCH/all"
}

# refused STATUS WORDS COMMAND...: ends so, and says so in one line
refused() {
    local wanted=$1 words=$2 got
    shift 2
    "$@" >"$SCRATCH/out" 2>"$SCRATCH/errors"
    got=$?
    [ $got = "$wanted" ] && [ "$(wc -l <"$SCRATCH/errors")" = 1 ] && grep -q -e "$words" "$SCRATCH/errors" ||
        { echo "status $got: $(cat "$SCRATCH/errors")"; return 1; }
}

wrong_uses_are_refused() {
    refused 2 "neither train nor eval" "$APBENCH" heads learn &&
        refused 2 "heads train --help" "$APBENCH" heads train --no-such-flag &&
        refused 2 "give prompts" "$APBENCH" heads train --out "$SCRATCH/x" &&
        refused 2 "--out is missing" train &&
        refused 2 "--rate" train --out "$SCRATCH/x" --rate fast &&
        refused 2 "--labels" train --out "$SCRATCH/x" --labels all &&
        refused 1 "leaves no prompt" train --out "$SCRATCH/x" --held-out 12 &&
        refused 1 "no/such" "$APBENCH" heads train --layers 2 --data no/such --out "$SCRATCH/x" &&
        refused 1 "retaining_heads" "$APBENCH" heads eval --layers 2 --data "$rows" \
            --retaining-heads no/retaining_heads
}

check heads_samples makes_samples
check heads_train_and_measure trains_and_measures
check heads_go_on_after_kill goes_on_after_kill
check heads_eval_reads eval_reads_what_train_wrote
check heads_wrong_uses wrong_uses_are_refused
