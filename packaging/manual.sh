#!/usr/bin/env bash
# Manual pages and completions, generated from the command line that the daemon has.
#
#   manual.sh DIR
#
# Leaves in DIR what belongs below /usr/share. Builds and runs daemon/tools/manual on this machine.
set -euo pipefail
umask 022
project=$(cd "$(dirname "$0")/.." && pwd)
dir=$(realpath -m "${1:?manual: where to?}")
cd "$project"
date=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# In cargo's environment it would have crates with C code built anew whenever it comes or goes.
env -u SOURCE_DATE_EPOCH cargo run --quiet --locked --package picket-manual -- "$dir" "$date"
