#!/usr/bin/env bash
# Instructions that one image takes: the embedded net's convolutions alone, and a whole prediction of
# `picket predict`, from the bytes of a PNG to its line of JSON. On this machine under callgrind, as ARM
# cores in qemu-user, one by one.
#
#   instructions.sh HERE ARM PICKET-HERE PICKET-ARM     picket-kernels-bench and picket, static for aarch64
#
# Each count is that of a run over one image more less that of the run without it. callgrind knows no
# AVX-512: of the x86 paths it counts scalar and avx2.
set -euo pipefail

here=${1:?the binary for this machine is needed}
arm=${2:?the binary for aarch64 is needed}
picket_here=${3:?picket for this machine is needed}
picket_arm=${4:?picket for aarch64 is needed}
picture=$(cd "$(dirname "$0")/../../tests/data/cifar10" && pwd)/cat.png
qemu=qemu-aarch64-static
# One instruction in a block, each block in the log: the option has two names.
if "$qemu" -h | grep -q -- -one-insn-per-tb; then single=-one-insn-per-tb; else single=-singlestep; fi

in_callgrind() { # COMMAND…
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 >/dev/null |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

in_qemu() { # CORE COMMAND…
  "$qemu" -cpu "$1" "$single" -d exec,nochain -D /dev/stderr "${@:2}" 2>&1 >/dev/null | grep -c '^Trace'
}

row() { printf '%-8s  %-12s  %12s\n' "$@"; }

row path core instructions
for kernel in scalar avx2; do
  row "$kernel" x86-64 $(($(in_callgrind "$here" layers $kernel 1) - $(in_callgrind "$here" layers $kernel 0)))
done
for pair in neon:cortex-a53 neon:cortex-a72 dotprod:cortex-a76 i8mm:max; do
  kernel=${pair%%:*} core=${pair#*:}
  row "$kernel" "$core" $(($(in_qemu "$core" "$arm" layers "$kernel" 1) - $(in_qemu "$core" "$arm" layers "$kernel" 0)))
done

# What the inner loop of `neon` takes on the cores whose pipelines LLVM knows.
if command -v llvm-mca >/dev/null && command -v aarch64-linux-gnu-objdump >/dev/null; then
  python3 "$(dirname "$0")/mca.py" "$arm"
else
  echo "neon: no cycles without llvm-mca and aarch64-linux-gnu-objdump (Debian's llvm, binutils-aarch64-linux-gnu)" >&2
fi

# The first prediction of a process touches what later ones find: the third is counted.
two=(predict --json "$picture" "$picture")
three=("${two[@]}" "$picture")
row prediction x86-64 $(($(in_callgrind "$picket_here" "${three[@]}") - $(in_callgrind "$picket_here" "${two[@]}")))
for core in cortex-a53 cortex-a76 max; do
  row prediction "$core" $(($(in_qemu "$core" "$picket_arm" "${three[@]}") - $(in_qemu "$core" "$picket_arm" "${two[@]}")))
done
