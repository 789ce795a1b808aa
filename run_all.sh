#!/bin/bash
# The whole path in one command: sets up what is missing, builds, runs the preset `quick`, or `quick-gpu`
# where the machine has a GPU (speed and accuracy), and makes the table and the plots, under
# results/local/COMMIT. Called again, it repeats no finished cell: results are kept by commit, and a
# row is written when its cell is done.
#
#     ./run_all.sh [FLAGS...]      flags that both `apbench speed` and `apbench eval` know: --threads 8
set -eu
cd "$(dirname "$0")"
case ${1:-} in
--help | -h)
    sed -n '2,/^set/{s/^# \{0,1\}//p}' run_all.sh
    exit 0
    ;;
esac

for word in "$@"; do
    case $word in
    --out | --out=* | --preset | --preset=* | --dry-run)
        echo "run_all: ${word%%=*} is not for here: preset and files are chosen by the script" >&2
        exit 2
        ;;
    esac
done

harness/setup/packages.sh # make may be missing itself
make --no-print-directory setup
make --no-print-directory -j"$(nproc)" all

program=build/apbench
folder=results/local/$(harness/setup/commit.sh)
preset=quick
if nvidia-smi -L >/dev/null 2>&1; then
    if "$program" list devices | grep -q '^cuda '; then
        preset=quick-gpu
    else
        echo "run_all: the GPU is left idle: this build has no cuda device (nvcc was not found)" >&2
    fi
fi
mkdir -p "$folder"

# Flags that one of the two commands does not know are refused before anything runs.
for command in speed eval; do
    "$program" $command --preset $preset "$@" --help >/dev/null
done

# 1 says that some cells failed: what the others gave is still worth a table.
status=0
run() {
    local code=0
    "$program" "$@" || code=$?
    [ $code -le 1 ] || exit $code
    [ $code = 0 ] || status=1
}

run speed --preset $preset --out "$folder/speed.csv" "$@"
run eval --preset $preset --out "$folder/accuracy.csv" "$@"
trap 'rm -f "$folder/table.md.fresh"' EXIT
"$program" table "$folder/speed.csv" "$folder/accuracy.csv" >"$folder/table.md.fresh"
mv "$folder/table.md.fresh" "$folder/table.md"
"$program" plot "$folder/speed.csv" "$folder/accuracy.csv" --out "$folder"

cat "$folder/table.md"
echo
echo "Rows:   $folder/speed.csv, $folder/accuracy.csv (every repetition and sample beside them)"
echo "Table:  $folder/table.md"
echo "Plots:  $folder/*.png, *.svg"
[ $status = 0 ] || echo "Some cells failed: their rows say why; the same command tries them again." >&2
exit $status
