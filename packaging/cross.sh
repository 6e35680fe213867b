#!/usr/bin/env bash
# Builds Picket for another architecture, or for this one as a container needs it, without a container
# engine: with a target that the compiler here has, else with Debian's packages (toolchain.sh).
#
#   cross.sh ARCH [--flavour=device|container]
#
# device:    linked against the system's C library and libsystemd (Debian 12 or newer), journal fields.
# container: static, no libsystemd; runs from an empty image.
#
# Leaves target/cross/ARCH-FLAVOUR/picket, stripped, and its symbols beside it in picket.debug, and
# prints the binary's path.
set -euo pipefail
cd -P "$(dirname "$0")/.."
# shellcheck source=packaging/toolchain.sh
. packaging/toolchain.sh

flavour=device
name=
for argument in "$@"; do
  case $argument in
    --flavour=*) flavour=${argument#*=} ;;
    -*) echo "cross: there is no option $argument" >&2; exit 64 ;;
    *) name=$argument ;;
  esac
done
[ -n "$name" ] || { echo "cross: for which architecture? aarch64, armv7, x86_64, riscv64" >&2; exit 64; }
if [ "$name-$flavour" = riscv64-device ]; then
  echo "cross: Debian 12 has no libsystemd for riscv64: --flavour=container" >&2
  exit 69
fi
cross_toolchain "$name" .cache/cross

build=(--release --locked "${build_std[@]}" --package picket --bin picket --target "$target" --target-dir target/cross)
binaries=target/cross/$target/release
# Panics name source files. Where this checkout, cargo's registry and the build's own files lie must not
# show: whoever builds the same commit elsewhere gets the same bytes. Of what fits, the last one counts.
lower=${target//-/_}
flags=CARGO_TARGET_${lower^^}_RUSTFLAGS
export "$flags=${!flags:-} --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$PWD=/picket"
flags=CFLAGS_$lower
# gcc writes down where it is by the path without links.
registry=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}/registry")
export "$flags=${!flags:-} -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo -ffile-prefix-map=$registry=/cargo/registry -ffile-prefix-map=$PWD=/picket"

# What follows concerns the last crate only, so that both flavours share what is built of the others.
last=()
if [ "$arch" != amd64 ]; then
  last+=(-Clink-arg=-fuse-ld=lld "-Clink-arg=-B$lld")
fi
case $flavour in
  device) build+=(--features journald) ;;
  container) last+=(-Ctarget-feature=+crt-static) ;;
  *) echo "cross: there is no flavour $flavour, only device and container" >&2; exit 64 ;;
esac
# Of a million bytes of relocations a twentieth is left. The loader knows them since glibc 2.36, which
# Debian 12 has; a static binary brings its own.
last+=("-Clink-arg=-Wl,-z,pack-relative-relocs")
CARGO_PROFILE_RELEASE_STRIP=none "${CARGO:-cargo}" rustc "${build[@]}" -- "${last[@]}" >&2

out=target/cross/$name-$flavour
tool=
[ "$arch" = amd64 ] || tool=$triple-
mkdir -p "$out"
"${tool}objcopy" --only-keep-debug --compress-debug-sections "$binaries/picket" "$out/picket.debug"
"${tool}strip" -o "$out/picket" "$binaries/picket"
# A debugger finds the symbols by the file's name and checksum.
(cd "$out" && "${tool}objcopy" --add-gnu-debuglink=picket.debug picket)
chmod 644 "$out/picket.debug"
echo "$out/picket"
