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
grep -q '^    pool=0|1 .* \[1\]$' "$SCRATCH/out" && grep -q '^    schedule=table8|.* \[table8\]$' "$SCRATCH/out" &&
    ok "list methods: defaults" || not_ok "list methods: defaults" "$(cat "$SCRATCH/out")"

# A misspelt ONLY= is no test that passed.
unmet=$(words=(usage nonsense) && . tests/wanted.sh && wanted check_usage && ! all_met)
[ "$unmet" = "'nonsense': no test has that in its name" ] && ok "ONLY= that no test has" ||
    not_ok "ONLY= that no test has" "$unmet"

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
expect "no text from random weights" 2 "random weights" "$APBENCH" generate --model tiny --prompt "a b"
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
expect "an empty word" 2 "''.is.not.expected" "$APBENCH" table ""
expect "no prompt" 2 prompt "$APBENCH" generate --model $random
expect "missing prompt file" 1 /nowhere "$APBENCH" generate --model $random --file /nowhere
expect "missing model" 1 /nowhere "$APBENCH" generate --model /nowhere --prompt "<1><2>"

# Wrong command lines (2), and right ones of which something fails (1): STATUS, what the sentence says
# (a dot for any space), and the command's words.
rows=results/cpu-quick/speed.csv
while read -r status said words; do
    expect "$words" $status "$said" "$APBENCH" $words
done <<END
2 no.flag.--nonsense speed --nonsense
2 no.preset.'niah' speed --preset niah
2 no.preset.'' speed --models tiny --preset=
2 --models:.model.nonsense speed --models tiny,nonsense --dry-run
2 --models.*empty.item speed --models tiny,,small
2 --methods:.*'nonsense' speed --models tiny --methods flash,nonsense
2 --methods:.*anchor:.'x' speed --models tiny --methods apb:anchor=x
2 --hosts.0 speed --models tiny --hosts 1,0
2 --hosts.65537 speed --models tiny --hosts 65537
2 --lengths.0 speed --models tiny --lengths 0
2 --lengths.50.*query.of.50 speed --models tiny --lengths 1K,50
2 --lengths.1073741824 speed --models tiny --lengths 1G
2 --link:.'nonsense' speed --models tiny --link nonsense
2 --link.needs.*'' speed --models tiny --link=
2 --out.needs.*'' speed --models tiny --out=
2 --profile.99:.*1.to speed --models tiny --profile 99
2 --profile.'nonsense' speed --models tiny --profile nonsense
2 no.device.*nonsense speed --models tiny --device nonsense
2 --comm.nonsense speed --models tiny --comm nonsense
2 --spawn.*not.sim speed --models tiny --spawn 2
2 --threads.4097 speed --models tiny --threads 4097
2 --timeout:.'-1' speed --models tiny --timeout -1
2 --retaining-heads.needs speed --models tiny --retaining-heads=
1 model.no/such speed --models no/such
1 3.layers.*has.2 speed --models tiny --layers 3
1 no/such speed --models tiny --retaining-heads no/such
1 /dev/null speed --models tiny --out /dev/null/x.csv
1 paper-table14 speed --preset paper-table14 --lengths 1M --methods flash
1 --profile:.*oom speed --models llama-3.1-8b --hosts 1 --lengths 64M --methods flash --profile 1
2 no.preset.'nonsense' eval --preset nonsense
2 --models:.model.nonsense eval --models nonsense
2 model.tiny.*random.weights eval --models tiny
2 --methods:.*'nonsense' eval --methods nonsense
2 --hosts.0 eval --hosts 0
2 --lengths.0 eval --lengths 0
2 no.task.*nonsense eval --tasks nonsense
2 'nonsense'.*scorer eval --scorer nonsense
2 --file.*--tasks.NAME.*8.tasks,.1 eval --file $SCRATCH/x --lengths 1K
2 --file.needs eval --tasks vt --lengths 1K --file=
2 --haystack.needs eval --haystack=
2 --workers.0 eval --workers 0
2 --out.needs.*'' eval --out=
1 model.no/such eval --models no/such --out $SCRATCH/x.csv
1 no/such eval --models $random --tasks vt --lengths 1K --file no/such --out $SCRATCH/x.csv
1 --haystack.no/such: eval --models $random --haystack no/such --out $SCRATCH/x.csv
2 --prompt.*--file generate --model $random
2 --prompt.needs.*'' generate --model $random --prompt=
2 --model:.model.nonsense generate --prompt x --model nonsense
2 --model.needs generate --prompt x --model=
2 --method.needs generate --prompt x --method=
2 --hosts.0 generate --prompt x --hosts 0
2 --query-tokens:.'x' generate --prompt x --query-tokens x
1 --query-tokens.9 generate --model $random --prompt <1><2> --query-tokens 9
2 --prompt-file logits --model $random
2 --out.FILE,.--against logits --model $random --prompt-file README.md
2 --out.needs.*'' logits --model $random --prompt-file README.md --out=
2 --against.cpu logits --model $random --prompt-file README.md --against cpu
2 --model:.model.nonsense logits --model nonsense --prompt-file README.md --out $SCRATCH/x
2 model.tiny.*random.weights logits --model tiny --prompt-file README.md --out $SCRATCH/x
2 --tokens.1: logits --model $random --prompt-file README.md --out $SCRATCH/x --tokens 1
1 no/such logits --model $random --prompt-file no/such --out $SCRATCH/x
2 --tasks.is.missing data
2 no.task.*nonsense data --tasks nonsense --lengths 1K --out $SCRATCH/x
2 --lengths.0 data --tasks vt --lengths 1K,0 --out $SCRATCH/x
2 --lengths.9663676416 data --tasks vt --lengths 9G --out $SCRATCH/x
2 --samples.0 data --tasks vt --lengths 1K --out $SCRATCH/x --samples 0
2 --out.needs.*'' data --tasks vt --lengths 1K --out=
2 --layout:.'nonsense' data --tasks vt --lengths 1K --out $SCRATCH/x --layout nonsense
2 --model:.model.nonsense data --tasks vt --lengths 1K --out $SCRATCH/x --model nonsense
2 model.tiny.*random.weights data --tasks vt --lengths 1K --out $SCRATCH/x --model tiny
1 model.no/such data --tasks vt --lengths 1K --out $SCRATCH/x --model no/such
1 10.tokens data --tasks vt --lengths 10 --out $SCRATCH/x --model $random
2 --task.is.missing score --file README.md
2 no.task.*nonsense score --task nonsense --file README.md
2 'nonsense'.*scorer score --task vt --file README.md --scorer nonsense
2 --file.needs.*'' score --task vt --file=
1 no/such score --task vt --file no/such
2 'nonsense'.is.neither heads nonsense
2 --out.is.missing heads train --text README.md
2 --out.needs.*'' heads train --text README.md --out=
2 --model:.model.nonsense heads train --text README.md --out $SCRATCH/x --model nonsense
2 --lengths.*not.1 heads train --text README.md --out $SCRATCH/x --lengths 512
2 --lengths.5,9 heads train --text README.md --out $SCRATCH/x --lengths 5,9
2 --lengths.900,800 heads train --text README.md --out $SCRATCH/x --lengths 900,800
2 --warm-up.10.*10.steps heads train --text README.md --out $SCRATCH/x --steps 10 --warm-up 10
2 --rate.2 heads train --text README.md --out $SCRATCH/x --rate 2
2 --layout.nonsense heads eval --text README.md --layout nonsense
2 --passed heads eval --text README.md --passed 9
1 no/such heads eval --model $random --data no/such
1 README.md:.has.*tokens heads eval --model $random --text README.md
2 one.word list
2 'nonsense' list nonsense
2 file.is.missing table
2 no.preset.'nonsense' table $rows --preset nonsense
2 --value.needs.*'' table $rows --value=
2 --length:.'x' table $rows --length x
1 no/such table no/such.csv
1 column.*nonsense table $rows --value nonsense
1 --length.77 table $rows --length 77
2 --out.is.missing plot $rows
2 --out.needs.*'' plot $rows --out=
2 no.preset.'nonsense' plot $rows --out $SCRATCH/x --preset nonsense
1 no/such plot no/such.csv --out $SCRATCH/x
1 /dev/null plot $rows --out /dev/null/x
2 'word' info word
2 --sizes.0 info --sizes 1K,0
2 no.device.*nonsense info --device nonsense
2 one.method check flash ring
2 'nonsense' check nonsense
2 --model:.model.nonsense check ring --model nonsense
2 --lengths.0 check ring --model tiny --lengths 0
2 --lengths.611.*query.of.611 check ring --model tiny --query 611
2 --lengths.9663676416 check ring --model tiny --lengths 9G
2 --query.0 check ring --model tiny --query 0
2 --hosts.0 check ring --model tiny --hosts 0
1 model.no/such check ring --model no/such
1 3.layers.*has.2 check ring --model tiny --layers 3
END

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
