#!/bin/sh
# Attention, products and whole prefill in turn with PyTorch's on this machine's GPU; CSVs and a page
# under results/local/gpu-peer (or $OUT_FOLDER). Called by `make bench-gpu`.
#
#     tests/peer/gpu/run.sh BUILD [--quick]      --quick: fewer shapes, prefill at 32K alone
#     tests/peer/gpu/run.sh BUILD calls [...]    attention as methods call it alone, with calls.py's options
#                                                (make bench-attention)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1
quick=${2:-}
case $quick in
"" | --quick | calls) ;;
*)
    echo "bench-gpu: unknown argument '$quick'; there are --quick and calls" >&2
    exit 2
    ;;
esac

# A python3 that has PyTorch with CUDA and transformers, else an environment of its own.
python=${PYTHON:-python3}
if ! "$python" -c 'import torch, transformers; assert torch.version.cuda' 2>/dev/null; then
    . "$here/../../../harness/setup/environment.sh"
    python_environment torch $torch_packages
fi
"$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || {
    echo "bench-gpu: PyTorch finds no GPU on this machine" >&2
    exit 1
}

folder=${OUT_FOLDER:-results/local/gpu-peer}
mkdir -p "$folder"
export PYTHONUNBUFFERED=1
library=$(cd "$build" && pwd)/tests/libapbench_peer.so
program=$(cd "$build" && pwd)/apbench
if [ "$quick" = calls ]; then
    shift 2
    exec "$python" "$here/calls.py" --library "$library" --program "$program" \
        --out "$folder/calls.csv" "$@"
fi
status=0
"$python" "$here/attention.py" --library "$library" --program "$program" $quick \
    --out "$folder/attention.csv" || status=1
"$python" "$here/rates.py" --library "$library" --program "$program" \
    --out "$folder/rates.csv" || status=1
"$python" "$here/prefill.py" --program "$program" ${quick:+--lengths 32K} \
    --rows "$folder/speed.csv" --out "$folder/prefill.csv" || status=1
if [ -f "$folder/rates.csv" ] && [ -f "$folder/speed.csv" ]; then
    "$python" "$here/floor.py" --rates "$folder/rates.csv" "$folder/speed.csv" \
        >"$folder/floor.md" && cat "$folder/floor.md" || status=1
fi
exit $status
