# `apbench logits`: the file it writes, against generate and against shorter runs of itself.
set -u
python3 tests/checks/logits.py "$APBENCH" "$SCRATCH" 2>&1
# A place that is taken by something else stays as it is (here a pipe; it might be /dev/null), and a link
# stays one.
logits=("$APBENCH" logits --layers 1 --tokens 4 --prompt-file "$SCRATCH/text" --out)
mkfifo "$SCRATCH/pipe"
"${logits[@]}" "$SCRATCH/pipe" 2>"$SCRATCH/errors" >/dev/null
[ $? = 1 ] && [ -p "$SCRATCH/pipe" ] && grep -q "no regular file" "$SCRATCH/errors" && echo "ok a pipe stays" ||
    echo "not ok a pipe stays: $(ls -l "$SCRATCH/pipe"; cat "$SCRATCH/errors")"
: >"$SCRATCH/target"
ln -s target "$SCRATCH/link"
"${logits[@]}" "$SCRATCH/link" >/dev/null && [ -L "$SCRATCH/link" ] && [ -s "$SCRATCH/target" ] && echo "ok a link stays" ||
    echo "not ok a link stays: $(ls -l "$SCRATCH/link" "$SCRATCH/target")"
ls "$SCRATCH" | grep -q part && echo "not ok no half-written file: $(ls "$SCRATCH")" ||
    echo "ok no half-written file"
"$APBENCH" logits --prompt-file "$SCRATCH/text" --out /proc/no/file.npy >/dev/null 2>"$SCRATCH/err" &&
    echo "not ok a file that cannot be written: status 0" || echo "ok a file that cannot be written"
