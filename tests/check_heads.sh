#!/bin/bash
# apbench heads as a user calls it: training that is killed and goes on to the same file, its measure,
# heads that `eval` reads, and what is said of wrong flags. Two layers of the default model.
set -u

. tests/checks/check.sh

rows=$SCRATCH/data/512/niah_single_1/validation.jsonl
training=("$APBENCH" heads train --layers 2 --width 16 --held-out 2 --save-every 3 --data "$rows")
train() { "${training[@]}" "$@"; }

makes_samples() {
    "$APBENCH" data --tasks niah_single_1 --lengths 512 --samples 12 --seed 99 --out "$SCRATCH/data"
}

# The measure of the end: one line a layer, and the mean, each with overlap and two recalls.
trains_and_measures() {
    train --out "$SCRATCH/whole" >"$SCRATCH/measure" &&
        [ ! -e "$SCRATCH/whole.state" ] &&
        [ "$(awk '/^(0|1|mean) / && NF == 4 && $2 >= 0 && $2 <= 1' "$SCRATCH/measure" | wc -l)" = 3 ]
}

# goes_on_after SIGNAL STATUS: the same, sent a signal once it has written its first state.
goes_on_after() {
    local out=$SCRATCH/sent$1 pid status
    [ -e "$SCRATCH/unbroken" ] || train --steps 40 --out "$SCRATCH/unbroken" >/dev/null || return 1
    "${training[@]}" --steps 40 --out "$out" >/dev/null 2>"$out.err" & # the program itself: of a function, kill meets the shell
    pid=$!
    for _ in $(seq 3000); do
        [ -e "$out.state" ] && break
        sleep 0.01
    done
    kill -"$1" $pid
    wait $pid 2>/dev/null
    status=$?
    [ -e "$out.state" ] && [ ! -e "$out" ] || { echo "it was over before the signal"; return 1; }
    [ $status = "$2" ] || { echo "status $status: $(cat "$out.err")"; return 1; }
    train --steps 40 --out "$out" >/dev/null && cmp "$SCRATCH/unbroken" "$out"
}

# said REASON STEPS OUT: the last line says why it stopped, after how many prompts, and what it goes on from.
said() {
    tail -n 1 "$3.err" |
        grep -q "^apbench: stopped by $1: $2 prompts are learned from, and the same command goes on from $3.state$" ||
        { cat "$3.err"; return 1; }
}

# leaves REASON STEPS FLAGS...: a training that stops before its end fails, with nothing but its state written.
leaves() {
    local out=$SCRATCH/left status reason=$1 steps=$2
    shift 2
    rm -f "$out"*
    train --out "$out" "$@" >/dev/null 2>"$out.err"
    status=$?
    [ $status = 1 ] && [ -e "$out.state" ] && [ ! -e "$out" ] || { echo "status $status"; return 1; }
    said "$reason" "$steps" "$out"
}

eval_reads_what_train_wrote() {
    "$APBENCH" heads eval --layers 2 --retaining-heads "$SCRATCH/whole" --data "$rows" >"$SCRATCH/all" &&
        grep -q '^12 prompts, 12 of them with needles' "$SCRATCH/all"
}

# One table a method: of what they pass on, and of the heads in their layouts.
layouts_are_measured() {
    local methods=apb:anchor=100:compressor=query,apb:anchor=100:compressor=sink
    "$APBENCH" heads eval --layers 2 --data "$rows" --labels query --hosts 2 --layout $methods --passed 16 \
        >"$SCRATCH/passed" &&
        grep -q '^apb:anchor=100:compressor=query:passing=16, 2 hosts: 16 keys of each block' "$SCRATCH/passed" &&
        grep -q '^apb:anchor=100:compressor=sink:passing=16, 2 hosts: 16 keys' "$SCRATCH/passed" &&
        [ "$(awk '/^(0|1|mean) / && NF == 6 && $2 > 0 && $2 <= 1' "$SCRATCH/passed" | wc -l)" = 6 ] &&
        "$APBENCH" heads eval --layers 2 --data "$rows" --hosts 2 --layout star,apb:anchor=100:passing=9 \
            --retaining-heads "$SCRATCH/whole" >"$SCRATCH/used" &&
        [ "$(awk '/^(0|1|mean) / && NF == 4 && $2 >= 0 && $2 <= 1' "$SCRATCH/used" | wc -l)" = 6 ]
}

trains_in_a_layout() {
    train --labels query --out "$SCRATCH/blocks" --hosts 2 --layout apb:compressor=query --stop-after 4
    [ $? = 1 ] && [ -e "$SCRATCH/blocks.state" ] && [ ! -e "$SCRATCH/blocks" ] || return 1
    train --labels query --out "$SCRATCH/blocks" 2>"$SCRATCH/errors" && return 1 # another layout
    grep -q "another training" "$SCRATCH/errors" || return 1
    train --labels query --out "$SCRATCH/blocks" --hosts 2 --layout apb:compressor=query >/dev/null &&
        [ -e "$SCRATCH/blocks" ]
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
        refused 1 "no regular file" train --out "$SCRATCH" &&
        refused 2 "--rate" train --out "$SCRATCH/x" --rate fast &&
        refused 2 "--labels" train --out "$SCRATCH/x" --labels all &&
        refused 2 "another_method" train --out "$SCRATCH/x" --layout another_method &&
        refused 2 "one method to train in" train --out "$SCRATCH/x" --layout star,apb &&
        refused 2 "needs a method" "$APBENCH" heads eval --data "$rows" --passed 9 &&
        refused 1 "no prompt runs in the layout: apb" train --out "$SCRATCH/x" --layout apb --hosts 60 &&
        refused 1 "passes no keys" "$APBENCH" heads eval --layers 1 --data "$rows" --layout apb:passing=0 \
            --hosts 1 --passed 9 &&
        refused 1 "leaves no prompt" train --out "$SCRATCH/x" --held-out 12 &&
        refused 1 "no/such" "$APBENCH" heads train --layers 2 --data no/such --out "$SCRATCH/x" &&
        refused 1 "retaining_heads" "$APBENCH" heads eval --layers 2 --data "$rows" \
            --retaining-heads no/retaining_heads
}

check heads_samples makes_samples
check heads_train_and_measure trains_and_measures
check heads_go_on_after_kill goes_on_after KILL 137
check heads_go_on_after_a_signal goes_on_after TERM 1
check heads_say_what_a_signal_left said SIGTERM "[0-9]* of 40" "$SCRATCH/sentTERM"
check heads_stop_after leaves --stop-after "4 of 10" --stop-after 4
check heads_time_limit leaves --time-limit "1 of 10" --time-limit 1e-9
check heads_eval_reads eval_reads_what_train_wrote
check heads_measured_in_layouts layouts_are_measured
check heads_trained_in_a_layout trains_in_a_layout
check heads_wrong_uses wrong_uses_are_refused
