# The id that rows and --version carry: the commit, and another one for every state of changed sources.
. tests/checks/check.sh

if ! git rev-parse HEAD >"$SCRATCH/out" 2>&1; then
    echo "skip commit: this is no repository"
    exit 0
fi
git init -q "$SCRATCH/tree"
git ls-files -z harness/setup methods README.md Makefile | xargs -0 cp --parents -t "$SCRATCH/tree"
cp harness/setup/commit.sh "$SCRATCH/tree/harness/setup/commit.sh"
cd "$SCRATCH/tree" || exit 1
say() { harness/setup/commit.sh; }

is "commit: nothing is committed" unknown "$(say)"
git add . && git -c user.name=a -c user.email=a@b commit -qm "a tree"
id=$(git rev-parse --short=12 HEAD)
is "commit: a clean tree" "$id" "$(say)"
echo "a word" >>README.md && touch rows.csv
is "commit: what is not built" "$id" "$(say)"
echo "/* one */" >>methods/apb.c
one=$(say)
[[ $one =~ ^$id-dirty-[0-9a-f]{8}$ ]]
is "commit: a changed source: $one" 0 $?
is "commit: the same again" "$one" "$(say)"
git add methods/apb.c
is "commit: the same, added" "$one" "$(say)"
echo "/* two */" >>methods/apb.c
two=$(say)
[ "$two" != "$one" ] && [ "$two" != "$id" ]
is "commit: changed further: $two" 0 $?
git checkout -q HEAD methods/apb.c
is "commit: changed back" "$id" "$(say)"
echo "/* mine */" >methods/mine.c
three=$(say)
[ "$three" != "$id" ] && mv methods/mine.c methods/ours.c && [ "$(say)" != "$three" ]
is "commit: a new source, and its name: $three" 0 $?
rm methods/ours.c methods/star.c
[[ $(say) == $id-dirty-* ]]
is "commit: a source that is gone" 0 $?
