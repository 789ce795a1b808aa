# Sourced by the set-up scripts: where things are kept, how set-up gives up, and private Python
# environments. Everything fetched or converted lives under one cache directory, outside git.

# $APBENCH_CACHE, else $XDG_CACHE_HOME/apbench, else ~/.cache/apbench (as cache_directory() in C).
if [ -n "${APBENCH_CACHE:-}" ]; then
    cache=$APBENCH_CACHE
elif [ -n "${XDG_CACHE_HOME:-}" ]; then
    cache=$XDG_CACHE_HOME/apbench
elif [ -n "${HOME:-}" ]; then
    cache=$HOME/.cache/apbench
else
    echo "setup: none of APBENCH_CACHE, XDG_CACHE_HOME and HOME is set: no place to keep the model" >&2
    exit 1
fi
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac
mkdir -p "$cache" || exit 1

# What converts the model, pinned so that everybody gets the same bytes.
setup_packages="gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0 tokenizers==0.23.3"

# What the reference values and the comparison with PyTorch are made with (several GB).
torch_packages="torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6"

# One sentence, and the end.
give_up() {
    echo "setup: $*" >&2
    exit 1
}

# Waits for other set-ups on this cache, and holds them off until this script ends.
one_at_a_time() {
    exec 8>"$cache/lock"
    flock 8
}

# The telling line of a failed command's log: its last error line, else its last line.
last_words() {
    words=$(grep -iE '^(error|E:)' "$1" | tail -n 1)
    [ -n "$words" ] || words=$(grep -v '^[[:space:]]*$' "$1" | tail -n 1)
    printf '%s' "${words:-no reason given}"
}

# python_environment NAME REQUIREMENT...: a virtual environment under the cache with these packages;
# sets $python to its interpreter. Made anew when the list changes. The list is written into it last,
# so that a broken-off installation is never taken for a whole one.
python_environment() {
    environment=$cache/environments/$1
    shift
    python=$environment/bin/python
    [ "$(cat "$environment/requirements" 2>/dev/null)" = "$*" ] && [ -x "$python" ] && return
    mkdir -p "$cache/environments"
    exec 9>"$environment.lock"
    flock 9
    if [ "$(cat "$environment/requirements" 2>/dev/null)" != "$*" ] || [ ! -x "$python" ]; then
        echo "setup: making a Python environment with $*" >&2
        rm -rf "$environment"
        log=$environment.log
        python3 -m venv "$environment" >"$log" 2>&1 ||
            give_up "python3 -m venv $environment failed: $(last_words "$log")"
        "$python" -m pip --disable-pip-version-check install --quiet --retries 2 "$@" \
            >"$log" 2>&1 || {
            words=$(last_words "$log")
            rm -rf "$environment"
            give_up "could not fetch the Python packages $* from PyPI (is there a network?): $words"
        }
        rm -f "$log"
        printf '%s\n' "$*" >"$environment/requirements"
    fi
    exec 9>&-
}
