#!/usr/bin/env bash
# Builds packaging/cross.Dockerfile as the tool `cross` has it built for aarch64, and in it a program
# that links libsystemd for the target. Its base, debian:bookworm-slim, is made of Debian's packages:
# no registry is asked.
#
#   cross_image.sh CACHE
#
# Needs root, debootstrap, buildah.
set -euo pipefail
cache=$(mkdir -p "${1:?which folder?}" && cd "$1" && pwd)
cd "$(dirname "$0")"
base=docker.io/library/debian:bookworm-slim
mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/picket-cross.XXXX")
trap 'rm -rf "$work"' EXIT

if [ ! -e "$cache/rootfs.complete" ]; then
  rm -rf "$cache/rootfs"
  debootstrap --variant=minbase bookworm "$cache/rootfs" "${mirror:-http://deb.debian.org/debian}" \
    >"$cache/debootstrap.log" || { tail -n 5 "$cache/debootstrap.log" >&2; exit 1; }
  touch "$cache/rootfs.complete"
fi

images() { buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"; }
from=$(images from scratch)
images add --quiet "$from" "$cache/rootfs" / >/dev/null
images commit --quiet --rm "$from" $base >/dev/null
images build --quiet --isolation chroot --pull=never --build-arg CROSS_DEB_ARCH=arm64 --tag cross \
  --file cross.Dockerfile . >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }

within=$(images from --pull=never localhost/cross)
# As the crates do: pkg-config finds the target's libsystemd, the linker that cargo is told links it.
# shellcheck disable=SC2016  # the container's shell expands it
images run --isolation chroot "$within" sh -ec '
  printf "%s\n" "#include <systemd/sd-daemon.h>" "int main(void) { return sd_notify(0, \"READY=1\"); }" >/tmp/a.c
  export PKG_CONFIG_LIBDIR=$PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu
  $CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER -o /tmp/a /tmp/a.c $(pkg-config --cflags --libs libsystemd)
  aarch64-linux-gnu-readelf -hd /tmp/a' >"$work/read"
for part in 'Machine:.*AArch64' 'NEEDED.*libsystemd.so.0'; do
  grep -q "$part" "$work/read" || { echo "cross_image: no $part:" >&2; cat "$work/read" >&2; exit 1; }
done
echo "ok image: packaging/cross.Dockerfile built for arm64, its compiler links the target's libsystemd"
