#!/usr/bin/env bash
# Runs every curl command of the README, as it stands there, against a daemon with no
# configuration, and compares the first answer's class and model with those printed below it.
set -euo pipefail
picket=$(realpath "$1")
cd "$(dirname "$0")/../.."

state=$(mktemp -d)
env -i PATH="$PATH" XDG_STATE_HOME="$state" "$picket" serve 2>"$state/stderr" &
daemon=$!
trap 'kill "$daemon" 2>/dev/null || true; wait "$daemon" || true; rm -rf "$state"' EXIT
for _ in $(seq 100); do
  curl -sf localhost:8001/ready >/dev/null && break
  sleep 0.1
done

mapfile -t commands < <(grep '^curl ' README.md)
[ "${#commands[@]}" -gt 0 ] || { echo "README.md holds no curl command" >&2; exit 1; }
for command in "${commands[@]}"; do
  echo "$ $command"
  answer=$(bash -c "${command/#curl /curl -sS --fail-with-body }") || {
    echo "failed: $answer" >&2
    cat "$state/stderr" >&2
    exit 1
  }
  echo "${answer:0:400}"
  first=${first:-$answer}
done
# The first label is the prediction's own; those of `top` follow it.
said() { sed -n 's/^{"class":[0-9]*,\("label":"[a-z]*"\),.*\("digest":"[0-9a-f]*"\).*/\1 \2/p' | head -n 1; }
printed=$(said <README.md)
[ -n "$printed" ] && [ "$(said <<<"$first")" = "$printed" ] || {
  echo "the README prints $printed, the daemon answers otherwise" >&2
  exit 1
}
