#!/bin/sh
# Makes the reference values anew: tests/data/checkpoints (small random models) and
# tests/data/logits.json, with Hugging Face transformers in an environment of its own. Not part of
# `make test`: the results are committed. `make.sh checkpoints` makes the checkpoints anew, too.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../harness/setup/environment.sh"
python_environment torch $torch_packages
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
[ "${1:-}" != checkpoints ] || "$python" "$here/checkpoints.py" "$here/../data/checkpoints"
"$python" "$here/logits.py" "$cache" "$here/../data"
