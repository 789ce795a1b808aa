# The program's manners: help, version, one sentence and the right exit status for what is wrong.
set -u

ok() { echo "ok $1"; }
not_ok() { echo "not ok $1: $2"; }

# expect NAME STATUS WORD COMMAND...: exit STATUS, nothing on stdout, exactly one line on stderr that
# holds WORD.
expect() {
    local name=$1 status=$2 word=$3 found=0
    shift 3
    "$@" >"$SCRATCH/out" 2>"$SCRATCH/err" </dev/null || found=$?
    if [ $found != "$status" ]; then
        not_ok "$name" "status $found, expected $status: $(head -c 300 "$SCRATCH/err")"
    elif [ "$(wc -l <"$SCRATCH/err")" != 1 ]; then
        not_ok "$name" "said $(wc -l <"$SCRATCH/err") lines: $(head -c 300 "$SCRATCH/err")"
    elif ! grep -qi -- "$word" "$SCRATCH/err"; then
        not_ok "$name" "'$word' is not in: $(cat "$SCRATCH/err")"
    elif [ -s "$SCRATCH/out" ]; then
        not_ok "$name" "wrote to stdout: $(head -c 300 "$SCRATCH/out")"
    else
        ok "$name"
    fi
}

for command in speed eval generate logits data score list table plot info check; do
    if "$APBENCH" $command --help >"$SCRATCH/out" 2>"$SCRATCH/err" </dev/null &&
        grep -q "apbench $command" "$SCRATCH/out"; then
        ok "$command --help"
    else
        not_ok "$command --help" "$(head -c 300 "$SCRATCH/out" "$SCRATCH/err")"
    fi
done
"$APBENCH" --version | grep -qE '^apbench [0-9]' && ok version || not_ok version "no version"
"$APBENCH" list methods >"$SCRATCH/out"
for method in flash ring zigzag ulysses star apb; do
    grep -qw $method "$SCRATCH/out" && ok "list methods: $method" ||
        not_ok "list methods: $method" "not listed"
done

random=tests/data/checkpoints/yi-sharded-f32
generate() { "$APBENCH" generate --model $random --prompt "<1><2><3>" "$@"; }
expect "unknown command" 2 nonsense "$APBENCH" nonsense
expect "unknown flag" 2 nonsense generate --nonsense 3
expect "a flag of another command" 2 "but --models" "$APBENCH" speed --model tiny
expect "flag without value" 2 hosts generate --hosts
expect "flag with a bad number" 2 12x generate --new-tokens 12x
expect "unknown method" 2 nonsense generate --method nonsense
expect "unknown option of a method" 2 nonsense generate --method star:nonsense=1
expect "unknown device" 2 nonsense generate --device nonsense
expect "a query of no tokens" 2 "--query 0" "$APBENCH" speed --models tiny --query 0
expect "a number that is no time" 2 "tolerance.*number of at least 0" "$APBENCH" check ring --tolerance much
expect "no text from random weights" 1 "random weights" "$APBENCH" generate --model tiny --prompt "a b"
speed() { "$APBENCH" speed --models $random --lengths 128 --out "$SCRATCH/never.csv" "$@"; }
expect "no repetition" 2 reps speed --reps 0
expect "repetitions without number" 2 reps speed --reps 9223372036854775807
expect "as many to warm up" 2 warmup speed --warmup 9223372036854775807
expect "tokens without number" 2 new-tokens speed --new-tokens 9223372036854775807
for word in speed "eval --methods flash --samples 1"; do
    # Split into words on purpose.
    # shellcheck disable=SC2086
    for out in "$SCRATCH"/new/{rows,rows.txt,rows.csv/,rows.CSV} .csv - /dev/stdout; do
        expect "$word: rows in ${out#"$SCRATCH/"}" 2 "--out $out: .*NAME\\.csv" \
            "$APBENCH" $word --models $random --lengths 512 --out "$out"
    done
done
[ ! -e "$SCRATCH/new" ] && [ ! -e .csv ] && [ ! -e - ] && ok "nothing is made under such names" ||
    not_ok "nothing is made under such names" "$(ls "$SCRATCH/new" .csv - 2>/dev/null)"
expect "a check that takes longer than it may" 1 "timeout" "$APBENCH" check star --model $random \
    --hosts 2 --lengths 4K --timeout 1e-6
expect "no prompt" 2 prompt "$APBENCH" generate --model $random
expect "missing prompt file" 1 /nowhere "$APBENCH" generate --model $random --file /nowhere
expect "missing model" 1 /nowhere "$APBENCH" generate --model /nowhere --prompt "<1><2>"

# A directory that a broken download or a hostile hand made.
broken() {
    rm -rf "$SCRATCH/model"
    cp -r tests/data/checkpoints/llama31-f16 "$SCRATCH/model"
}
refused() { expect "$1" 1 "$2" "$APBENCH" generate --model "$SCRATCH/model" --prompt "<1><2><3>"; }
broken && truncate -s -1000 "$SCRATCH/model/model.safetensors"
refused "truncated weights" model.safetensors
broken && printf '\377\377\377\377\377\377\377\177' |
    dd of="$SCRATCH/model/model.safetensors" conv=notrunc status=none
refused "header length that overflows" model.safetensors
broken && : >"$SCRATCH/model/model.safetensors"
refused "empty weights" model.safetensors
broken && sed -i 's/"hidden_size": 64/"hidden_size": 128/' "$SCRATCH/model/config.json"
refused "sizes that disagree" hidden\\\|shape\\\|size\\\|elements
broken && sed -i 's/"num_attention_heads": 4/"num_attention_heads": 0/' "$SCRATCH/model/config.json"
refused "no heads" num_attention_heads
broken && head -c 200 tests/data/checkpoints/llama31-f16/config.json >"$SCRATCH/model/config.json"
refused "truncated config.json" config.json
broken && python3 -c 'print("[" * 100000)' >"$SCRATCH/model/tokenizer.json"
refused "tokenizer.json nested deeply" tokenizer.json
broken && rm "$SCRATCH/model/config.json"
refused "no config.json" config.json
broken && rm "$SCRATCH/model/tokenizer.json"
refused "no tokenizer.json" tokenizer.json.is.missing
exit 0
