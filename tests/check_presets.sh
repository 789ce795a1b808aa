#!/bin/bash
# The sweeps that presets name, without running them: rows, samples and tokens of `eval --dry-run`.
set -u

. tests/checks/check.sh

dry() { "$APBENCH" eval "$@" --samples 2 --out "$SCRATCH/never.csv" --dry-run >"$SCRATCH/dry"; }

# Rows of a preset: every one names a method that exists, and can run.
rows() {
    local wanted=$1
    shift
    dry "$@" || return 1
    local found
    found=$(grep -cE '^ *[0-9]+ smollm2 ' "$SCRATCH/dry")
    [ "$found" = "$wanted" ] || { echo "$found rows and not $wanted"; return 1; }
    ! grep unsupported "$SCRATCH/dry"
}

# The last line's sums are those of the rows.
sums() {
    dry --preset niah --lengths 1K &&
        awk '/ smollm2 /{ rows++; samples += $7; prompts += $8; answers += $9 }
             END { split($0, words); print rows, samples, prompts, answers
                   exit !(words[1] == rows && words[7] == samples && words[9] == prompts &&
                          words[15] == answers && samples == 2 * rows && rows == 24) }' "$SCRATCH/dry"
}

nothing_written() { dry --preset quick && [ ! -e "$SCRATCH/never.csv" ] && [ ! -e "$SCRATCH/never.samples.jsonl" ]; }

# A document of 1K in blocks of 16 hosts cannot hold this anchor.
says_what_cannot_run() {
    dry --tasks vt --methods flash,apb:anchor=128 --hosts 16 &&
        grep -q '2 smollm2 .* apb:anchor=128 *16 *0 *0 *0  unsupported *apb needs blocks of at least' \
            "$SCRATCH/dry" && grep -q '^2 rows, of which 1 run: 2 samples' "$SCRATCH/dry"
}

check "preset study" rows 220 --preset study
check "preset ablation" rows 110 --preset ablation
check "preset exact" rows 21 --preset exact
check "preset compressors" rows 88 --preset compressors
check "preset budgets" rows 165 --preset budgets
check "preset recent" rows 132 --preset recent
check "preset blocks" rows 99 --preset blocks
check "sums of a dry run" sums
check "a dry run writes nothing" nothing_written
check "a dry run says what cannot run" says_what_cannot_run
