#!/usr/bin/env bash
# Builds target/dist a second time, from a clone of the same commit in another folder, with another
# place for cargo's registry, another time zone and another umask, and compares byte for byte.
#
#   rebuild.sh ARCH…
#
# Compiler, C libraries and the sources in cargo's registry are this machine's both times.
set -euo pipefail
project=$(cd -P "$(dirname "$0")/.." && pwd)
archs=("${@/#/--arch=}")
work=$(mktemp -d "${TMPDIR:-/var/tmp}/picket-rebuild.XXXX")
trap 'rm -rf "$work"' EXIT

git clone --quiet --no-hardlinks "$project" "$work/clone"
git -C "$work/clone" checkout --quiet --detach "$(git -C "$project" rev-parse HEAD)"
# Toolchains for other architectures, Python packages.
[ ! -d "$project/.cache" ] || ln -s "$project/.cache" "$work/clone/.cache"
# The same crates in another place, which must not show in what is built.
mkdir "$work/cargo"
cp -a --reflink=auto "${CARGO_HOME:-$HOME/.cargo}/." "$work/cargo"

echo "==> building again in $work/clone" >&2
(
  unset PICKET_COMMIT SOURCE_DATE_EPOCH
  umask 077
  export CARGO_HOME=$work/cargo TZ=Pacific/Kiritimati
  "$work/clone/dev" release --once "${archs[@]}" >/dev/null
)

status=0
while read -r file; do
  if cmp "$project/target/dist/$file" "$work/clone/target/dist/$file" >&2; then
    echo "identical $(sha256sum "$project/target/dist/$file" | cut -d' ' -f1) $file" >&2
  else
    echo "DIFFERENT $file" >&2
    mkdir -p "$project/target/dist.again"
    cp "$work/clone/target/dist/$file" "$project/target/dist.again/" || true
    status=1
  fi
done < <({ ls "$project/target/dist" && ls "$work/clone/target/dist"; } | sort -u)
[ "$status" = 0 ] || echo "rebuild: the second build's files are in target/dist.again" >&2
exit "$status"
