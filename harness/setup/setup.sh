#!/bin/sh
# All of set-up: packages, then the default model and the texts. Each part is quiet when there is
# nothing to do, and says in one sentence what it could not fetch; the others are tried all the same.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
"$here/packages.sh"
status=0
"$here/model.sh" || status=1
"$here/texts.sh" || status=1
exit $status
