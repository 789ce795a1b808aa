# `apbench logits`: the file it writes, against generate and against shorter runs of itself.
set -u
python3 tests/checks/logits.py "$APBENCH" "$SCRATCH" 2>&1
ls "$SCRATCH" | grep -q part && echo "not ok no half-written file: $(ls "$SCRATCH")" ||
    echo "ok no half-written file"
"$APBENCH" logits --prompt-file "$SCRATCH/text" --out /proc/no/file.npy >/dev/null 2>"$SCRATCH/err" &&
    echo "not ok a file that cannot be written: status 0" || echo "ok a file that cannot be written"
