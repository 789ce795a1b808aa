#!/bin/sh
# Sees to the Debian or Ubuntu packages that the build, the tests and the plots need; `packages.sh fuzz`
# also to clang and its libFuzzer, which `make fuzz` alone needs. Quiet and fast when all are there;
# else installs them with apt (as root, or with sudo where it asks no password), or prints the one line
# to type and exits with 1.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

have() { command -v "$1" >/dev/null 2>&1; }

# Tools count as there wherever they come from; libraries must be packages.
missing=
have gcc || missing="$missing gcc libc6-dev"
have make || missing="$missing make"
have git || missing="$missing git"
have pkg-config || missing="$missing pkg-config"
have gnuplot || missing="$missing gnuplot-nox"
have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ "${1:-}" = fuzz ]; then
    target=$(mktemp)
    printf 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -fsanitize=fuzzer,address,undefined -x c -o "$target" - 2>/dev/null ||
        missing="$missing clang libclang-rt-dev"
    rm -f "$target"
fi

if ! have dpkg-query; then
    have gcc && have make && exit 0 # another distribution: the compiler will name what it lacks
    echo "setup: this is no Debian or Ubuntu: install gcc, make, git, pkg-config, gnuplot, Python 3" \
        "with venv, oneDNN, Open MPI, jansson, Oniguruma, ICU and Criterion by its own means" >&2
    exit 1
fi

installed=" $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'lib*-dev' openmpi-bin \
    ca-certificates 2>/dev/null | sed -n 's/^installed //p' | tr '\n' ' ')"
is_installed() { case $installed in *" $1 "*) ;; *) return 1 ;; esac; }

for package in libopenmpi-dev openmpi-bin libjansson-dev libonig-dev libicu-dev libcriterion-dev \
    ca-certificates; do
    is_installed "$package" || missing="$missing $package"
done
# oneDNN's name differs between releases.
case $installed in
*\ libdnnl*-dev\ * | *\ libonednn*-dev\ *) ;;
*) missing="$missing ONEDNN" ;;
esac

[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=
elif have sudo && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root=none
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    $as_root apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 "$@" >"$log" 2>&1
}

[ "$as_root" = none ] || apt update || true # what is wrong with it shows when packages do not come
onednn=$(apt-cache search --names-only '^lib(dnnl|onednn)[0-9.]*-dev$' 2>/dev/null |
    sed 's/ .*//' | head -n 1)
missing=$(echo $missing | sed "s/ONEDNN/${onednn:-libdnnl-dev}/")

if [ "$as_root" = none ]; then
    echo "setup: packages are missing; type: sudo apt-get install $missing" >&2
    exit 1
fi
echo "setup: installing $missing" >&2
apt install -y --no-install-recommends $missing || {
    words=$(grep '^E:' "$log" | head -n 1)
    echo "setup: could not install $missing with apt (is there a network?):" \
        "${words:-$(tail -n 1 "$log")}" >&2
    exit 1
}
