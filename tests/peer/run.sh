#!/bin/sh
# Compares apbench's prefill with PyTorch's on this machine (compare.py), in an environment of its
# own. Called by `make bench-peer`; arguments behind the program go to compare.py.
#
#     tests/peer/run.sh PROGRAM [--lengths 2K,4K] [--rounds 5] [--threads 2] [--out FILE]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../harness/setup/environment.sh"
python_environment torch $torch_packages
program=$1
shift
OMP_WAIT_POLICY=passive exec "$python" "$here/compare.py" --program "$program" \
    --model "$cache/models/smollm2" --text "$cache/text/jargon.txt" "$@"
