#!/bin/sh
# Puts the default model, SmolLM2-135M-Instruct, under the cache as an ordinary float32 Hugging Face
# directory: <cache>/models/smollm2. Fast and quiet when it is there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/environment.sh"
recipe=$(sha256sum <"$here/model.py")
is_there() { [ "$(cat "$cache/models/smollm2/recipe" 2>/dev/null)" = "$recipe" ]; }

is_there && exit 0
one_at_a_time
is_there && exit 0
python_environment setup $setup_packages
"$python" "$here/model.py" "$cache/models/smollm2" "$recipe"
