#!/bin/bash
# apbench data and apbench score as a user calls them: files that appear whole and are the same for
# the same seed, the official summary and rows, and what is said of files that are no good.
set -u

. tests/checks/check.sh

# status WANTED COMMAND...: its exit status, and one line on standard error when it is 1 or 2
status() {
    local wanted=$1 got
    shift
    "$@" >"$SCRATCH/out" 2>"$SCRATCH/errors"
    got=$?
    [ $got = "$wanted" ] || { echo "status $got and not $wanted: $(cat "$SCRATCH/errors")"; return 1; }
    [ "$wanted" = 0 ] || [ -s "$SCRATCH/errors" ]
}

data() { "$APBENCH" data --lengths 1K --model smollm2 "$@"; }
score() { "$APBENCH" score --task niah_single_1 "$@"; }
rows=1024/niah_multikey_1/validation.jsonl

same_seed_same_bytes() {
    data --tasks niah_multikey_1 --samples 3 --out "$SCRATCH/a" &&
        data --tasks niah_multikey_1 --samples 2 --out "$SCRATCH/b" &&
        data --tasks niah_multikey_1 --samples 2 --seed 43 --out "$SCRATCH/c" &&
        [ "$(wc -l <"$SCRATCH/a/$rows")" = 3 ] &&
        cmp <(head -n 2 "$SCRATCH/a/$rows") "$SCRATCH/b/$rows" &&
        ! cmp -s "$SCRATCH/b/$rows" "$SCRATCH/c/$rows"
}

nothing_half_written() {
    status 1 data --tasks niah_multikey_1 --samples 2 --haystack /nonexistent --out "$SCRATCH/d" &&
        [ ! -e "$SCRATCH/d" ] && [ -z "$(find "$SCRATCH" -name '*partial*')" ]
}

# A prediction that is the answer, one that is half of nothing, an empty one: 1/3 of the score.
summary() {
    printf '%s\n' '{"index": 9, "pred": " The number is 8152736.", "outputs": ["8152736"]}' \
        '{"index": 9, "pred": "815273", "outputs": ["8152736"]}' \
        '{"index": 2, "pred": "\t", "outputs": ["8152736"]}' >"$SCRATCH/p.jsonl"
    score --file "$SCRATCH/p.jsonl" >"$SCRATCH/out" &&
        diff - "$SCRATCH/out" <<<$'Tasks,niah_single_1\nScore,33.33\nNulls,1/3'
}

each_row() {
    printf '%s\n' '{"pred": "1 and 3", "outputs": ["1", "2", "3"]}' '{"pred": 7, "outputs": ["7"]}' \
        '{"pred": "7", "outputs": []}' 'broken' '{"pred": "7", "outputs": [null]}' \
        '{"pred": "7", "outputs": ["7"]}' >"$SCRATCH/p.jsonl"
    status 1 score --file "$SCRATCH/p.jsonl" --per-row &&
        sed 's/, "error": ".*"}/, "error"}/' "$SCRATCH/out" | diff - <(
            printf '%s\n' '{"row": 0, "score": 66.67}' '{"row": 1, "score": null, "error"}' \
                '{"row": 2, "score": null, "error"}' '{"row": 3, "score": null, "error"}' \
                '{"row": 4, "score": 0.0}' '{"row": 5, "score": 100.0}'
        ) && grep -qF 'p.jsonl:4: ' "$SCRATCH/errors"
}

# The official report gives a file without labels 0.0, whatever later rows hold, and counts its empty
# predictions.
unlabelled() {
    printf '%s\n' '{"pred": " \u0001", "outputs": [null]}' '{"pred": "7", "outputs": [null]}' \
        '{"pred": "7", "outputs": ["7"]}' >"$SCRATCH/p.jsonl"
    status 0 score --file "$SCRATCH/p.jsonl" &&
        diff - "$SCRATCH/out" <<<$'Tasks,niah_single_1\nScore,0.0\nNulls,1/3'
}

# InfiniteBench: either name of the prediction, the label's name decided on the first row, the mean
# unrounded; where the official code raises there is no score, and APB's copy has one.
infinite_rows() {
    printf '%s\n' '{"id": 4, "prediction": "42", "label": [42]}' '{"pred": "42.7", "label": 42}' \
        '{"prediction": "7", "pred": "42", "label": 42}' '{"prediction": "7", "ground_truth": 7}' \
        '{"prediction": 42, "label": 42}' >"$SCRATCH/i.jsonl"
    status 1 "$APBENCH" score --task math_find --file "$SCRATCH/i.jsonl" --per-row &&
        sed 's/, "error": ".*"}/, "error"}/' "$SCRATCH/out" | diff - <(
            printf '%s\n' '{"row": 0, "score": 1.0}' '{"row": 1, "score": null, "error"}' \
                '{"row": 2, "score": 0.0}' '{"row": 3, "score": null, "error"}' \
                '{"row": 4, "score": null, "error"}'
        ) && head -n 3 "$SCRATCH/i.jsonl" >"$SCRATCH/j.jsonl" &&
        "$APBENCH" score --task math_find --file "$SCRATCH/j.jsonl" --scorer apb >"$SCRATCH/out" &&
        diff - "$SCRATCH/out" <<<$'Tasks,math_find\nScore,0.6666666666666666'
}

infinite_gpt4() {
    echo '{"prediction": "[3, 1, 4, 8]", "ground_truth": [1, 4, 8]}' >"$SCRATCH/i.jsonl"
    "$APBENCH" score --task math_calc --file "$SCRATCH/i.jsonl" | grep -qx 'Score,0.0' &&
        "$APBENCH" score --task math_calc --file "$SCRATCH/i.jsonl" --model-name gpt4 |
        grep -qx 'Score,1.0'
}

# What data writes is what score and eval read: UTF-8 rows with the official fields.
infinite_data() {
    data --tasks passkey --samples 3 --out "$SCRATCH/n" &&
        [ "$(wc -l <"$SCRATCH/n/1024/passkey/passkey.jsonl")" = 3 ] &&
        [ "$(grep -c '"context": .*"input": .*"answer": \["[0-9]*"\], "options": \[\]' \
            "$SCRATCH/n/1024/passkey/passkey.jsonl")" = 3 ] &&
        status 1 data --tasks longbook_qa_eng --samples 3 --out "$SCRATCH/m" && [ ! -e "$SCRATCH/m" ]
}

usage() {
    status 2 score && status 2 score --file "$SCRATCH/p.jsonl" --scorer odd &&
        status 2 score --file "$SCRATCH/p.jsonl" --bogus &&
        status 2 "$APBENCH" score --task nope --file "$SCRATCH/p.jsonl" &&
        status 2 data --tasks niah && status 2 data --tasks nope --out "$SCRATCH/e" &&
        status 2 data --tasks niah --out "$SCRATCH/e" --layout odd &&
        status 2 data --tasks niah --out "$SCRATCH/e" --samples 0 &&
        status 2 "$APBENCH" eval --tasks niah --lengths 0 --out "$SCRATCH/e" && [ ! -e "$SCRATCH/e" ]
}

no_good_files() {
    : >"$SCRATCH/empty"
    status 1 data --tasks niah --out "$SCRATCH/e" --model /nonexistent &&
        status 1 score --file "$SCRATCH/empty" && status 1 score --file /nonexistent &&
        status 1 score --file "$SCRATCH" && status 1 data --tasks qa_1 --out "$SCRATCH/e" &&
        status 1 data --tasks niah_single_1 --out /dev/null
}

# A text that is missing may be there at the next call, which then runs the row.
missing_text() {
    local rows cache=${APBENCH_CACHE:-$HOME/.cache/apbench} here=$SCRATCH/cache
    local eval=(env APBENCH_CACHE="$here" "$APBENCH" eval --methods flash --layers 1 --samples 1
        --tasks niah_single_2 --lengths 512 --no-fidelity --out "$SCRATCH/missing.csv")
    mkdir -p "$here/text" && ln -s "$cache/models" "$cache/words" "$here" || return 1
    "${eval[@]}" --dry-run | grep -q ' failed .*jargon.txt' || { echo "--dry-run does not say so"; return 1; }
    status 1 "${eval[@]}" && grep -q 'failed.*jargon.txt' "$SCRATCH/errors" &&
        cp README.md "$here/text/jargon.txt" && status 0 "${eval[@]}" &&
        tail -n 1 "$SCRATCH/missing.csv" | grep -q ',ok,' && rows=$(wc -l <"$SCRATCH/missing.csv") &&
        status 0 "${eval[@]}" && grep -q 'in the file already' "$SCRATCH/errors" &&
        [ "$(wc -l <"$SCRATCH/missing.csv")" = "$rows" ] &&
        status 0 "${eval[@]}" --tasks math_calc && tail -n 1 "$SCRATCH/missing.csv" | grep -q ',unsupported,'
}

check "same seed, same bytes; more samples change none before" same_seed_same_bytes
check "nothing half written" nothing_half_written
check "summary as the official report" summary
check "each row, and why some have no score" each_row
check "a file without labels" unlabelled
check "rows of InfiniteBench, scored as officially and as by APB" infinite_rows
check "a rule of its own for GPT-4" infinite_gpt4
check "InfiniteBench's files" infinite_data
check "bad usage has status 2" usage
check "files that are no good have status 1" no_good_files
check "a text that was missing is looked for again" missing_text
