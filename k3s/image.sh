#!/usr/bin/env bash
# Packs static binaries into one image for all their architectures, as a tarball that k3s imports
# without a registry.
#
#   image.sh VERSION ARCH=BINARY…
#
# ARCH as container images name it: amd64, arm64. Prints the tarball's path. Beside it target/k3s/ gets an
# overlay of k3s/ that names the image by its digest, for `kubectl apply -k target/k3s`.
set -euo pipefail
cd "$(dirname "$0")/.."

version=${1:?which version?}
shift
[ $# -gt 0 ] || { echo "image: which binaries?" >&2; exit 64; }
name=localhost/picket:$version
context=target/image
archive=target/picket-$version.oci.tar
# Of the commit: the same sources make the same image.
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

rm -rf "$context"
mkdir -p "$context/state"
install -m 644 LICENSE "$context/LICENSE"
for pair in "$@"; do
  install -D -m 755 "${pair#*=}" "$context/${pair%%=*}/picket"
done

# A store of its own, which needs no kernel's help and leaves the user's images alone.
store=$(mktemp -d "${TMPDIR:-/var/tmp}/picket-image.XXXX")
trap 'rm -rf "$store"' EXIT
image() { buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"; }

image manifest create "$name" >/dev/null
for pair in "$@"; do
  image build --quiet --layers=false --platform "linux/${pair%%=*}" --timestamp "$epoch" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
    --build-arg "CREATED=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" \
    --manifest "$name" --file k3s/Containerfile "$context" >/dev/null
done
rm -f "$archive"
image manifest push --quiet --all --digestfile "$store/digest" "$name" "oci-archive:$archive:$name" >&2
k3s/by_digest.sh "$(cat "$store/digest")" target/k3s
echo "$archive"
