#!/bin/sh
# Says of which commit this tree is, for rows of results and --version: its id, and where the sources
# differ from it, a hash of how they differ, so that every state of them has an id of its own. What is
# not built (results, plots, tests, README) changes nothing.
sources="Makefile harness methods kernels datasets"

id=$(git rev-parse --short=12 HEAD 2>/dev/null) || { echo unknown; exit; }
changes() {
    git diff HEAD --no-ext-diff --no-color -- $sources
    git ls-files --others --exclude-standard -- $sources | while read -r file; do
        echo "$file" && cat "$file"
    done
}
difference=$(changes)
[ -z "$difference" ] || id=$id-dirty-$(printf %s "$difference" | git hash-object --stdin | cut -c 1-8)
echo "$id"
