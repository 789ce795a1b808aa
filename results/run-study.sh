#!/bin/bash
# The study of accuracy on the default model, unattended: the presets `exact`, `study`, `ablation`,
# `compressors`, `budgets`, `recent` and `blocks` of `apbench eval`, one after another, and the pages made of
# them.
#
#     results/run-study.sh [PRESET...]        only these, in this order
#
# Rows and samples go to results/local/study (OUT=FOLDER: elsewhere). What was run is not run again, so
# the same command goes on after a time limit. OUT/pages then has what is worth keeping of each: the CSV,
# the samples' scores (of a samples' line `row`, `sample` and `score`), tables with paired intervals, and
# figures. Status 1 when a step failed or its time was up.
#
#     BUILD=FOLDER    where `make` built, default build
#     BUDGET=S        seconds for everything, default none: a step that is not done by then is stopped
#     WORKERS=N       processes that share the device, where `eval` has them; default its own
#     DEVICE=cpu      default cuda
#     PAGES=1         run nothing, make the pages of what there is (figures need gnuplot)
#     FLAGS='...'     more flags of eval behind the preset's: --samples 20, --lengths 1K,2K, --tasks vt
set -u
case ${1:-} in
--help | -h)
    sed -n '2,/^set/{s/^# \{0,1\}//p}' "$0"
    exit 0
    ;;
esac
cd "$(dirname "$0")/.." || exit 2
program=$(realpath -m "${BUILD:-build}/apbench")
folder=${OUT:-results/local/study} pages=${OUT:-results/local/study}/pages
[ -x "$program" ] || { echo "run-study: $program is not there: run make first" >&2; exit 2; }
mkdir -p "$pages" || exit 2
[ $# -gt 0 ] || set -- exact study ablation compressors budgets recent blocks
workers=${WORKERS:+--workers $WORKERS}
began=$SECONDS failed=0

# What the series of a preset are compared with, beside FlashAttn.
against() {
    case $1 in
    study) echo flash,star ;;
    ablation) echo flash,apb:compressor=retaining,apb:compressor=random ;;
    compressors) echo flash,star,apb:compressor=random ;;
    budgets | recent) echo flash,apb:anchor=128:passing=64 ;;
    blocks) echo flash,star:anchor=128 ;;
    *) echo flash ;;
    esac
}

run() {
    local name=$1 limit=() left status=0
    if [ -n "${BUDGET:-}" ]; then
        left=$((BUDGET - (SECONDS - began)))
        [ "$left" -gt 5 ] || { echo "run-study: $name: no time was left"; return 1; }
        limit=(timeout --signal=INT --kill-after=10 "$left")
    fi
    # Split into words on purpose.
    # shellcheck disable=SC2086
    "${limit[@]}" "$program" eval --preset "$name" --device "${DEVICE:-cuda}" --out "$folder/$name.csv" \
        $workers ${FLAGS:-} 2>>"$folder/$name.log" || status=$?
    echo "run-study: $name: status $status after $((SECONDS - began)) s: $(tail -n 1 "$folder/$name.log")"
    return $status
}

# The pages of what there is, after a limit too.
report() {
    local name=$1
    [ -s "$folder/$name.csv" ] && [ "$(wc -l <"$folder/$name.csv")" -gt 1 ] || return 1
    cp "$folder/$name.csv" "$pages/$name.csv" &&
        python3 - "$folder/$name.samples.jsonl" >"$pages/$name.samples.jsonl" <<'PYTHON' &&
import json, sys
with open(sys.argv[1], encoding="utf-8", errors="surrogateescape") as lines:
    for line in lines:
        if not line.endswith("\n"):
            break  # a killed run's last
        sample = json.loads(line)
        print(json.dumps({key: sample[key] for key in ("row", "sample", "score")}, separators=(",", ":")))
PYTHON
        (cd "$pages" && table=("$program" table "$name.csv" --intervals) &&
            { "${table[@]}" --against "$(against "$name")" || "${table[@]}"; } >"$name.md") &&
        if command -v gnuplot >/dev/null; then
            "$program" plot "$pages/$name.csv" --out "$pages/$name" >/dev/null
        else
            echo "run-study: $name: no figures, since gnuplot is not here: PAGES=1 makes them elsewhere"
        fi
}

for name in "$@"; do
    [ -n "${PAGES:-}" ] || run "$name" || failed=1
    report "$name" || { echo "run-study: $name: not all of its pages could be made"; failed=1; }
done
exit $failed
