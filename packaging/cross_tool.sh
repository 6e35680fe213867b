#!/usr/bin/env bash
# Proves what Cross.toml makes the tool `cross` do: the real tool runs, with an engine and a rustup that
# only write down what they are asked, so that nothing is pulled or downloaded.
#
#   cross_tool.sh CROSS
set -euo pipefail
cross=$(realpath "${1:?the tool is needed}")
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/rustup" <<'STUB'
#!/bin/sh
case "$1 $2" in
  'toolchain list') echo 'stable-x86_64-unknown-linux-gnu (active, default)' ;;
  'component list') echo 'rust-src (installed)' ;;
esac
STUB
cat >"$work/engine" <<'STUB'
#!/bin/sh
echo "$@" >>"$CALLS"
STUB
chmod +x "$work/rustup" "$work/engine"

wrong() {
  printf 'cross_tool: %s\n' "$@" >&2
  exit 1
}

# asked WHAT PART…: the engine's call that begins with WHAT has each of the parts.
asked() {
  local call part
  call=$(grep "^$1 " "$work/calls") || wrong "no '$1' among its calls:" "$(cat "$work/calls")"
  for part in "${@:2}"; do
    case $call in *"$part"*) ;; *) wrong "'$part' is missing in:" "$call" ;; esac
  done
}

for pair in aarch64-unknown-linux-gnu:arm64 armv7-unknown-linux-gnueabihf:armhf; do
  target=${pair%:*} arch=${pair#*:}
  : >"$work/calls"
  CALLS=$work/calls PATH=$work:$PATH CROSS_CONTAINER_ENGINE=$work/engine PICKET_COMMIT=none SOURCE_DATE_EPOCH=0 \
    "$cross" build --release --locked --target "$target" --features journald
  asked build "CROSS_DEB_ARCH=$arch" '--file packaging/cross.Dockerfile'
  # Not the checkout with all that was ever built in it.
  grep -q '^build .*[ /]packaging$' "$work/calls" || wrong 'the context is not packaging/:' "$(grep ^build "$work/calls")"
  asked run '-e PICKET_COMMIT' '-e SOURCE_DATE_EPOCH' '-e RUSTFLAGS' \
    "cargo build --release --locked --target $target --features journald"
  echo "ok $target: an image of packaging/cross.Dockerfile for $arch, in it cargo build with the environment of Cross.toml"
done
