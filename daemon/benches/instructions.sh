#!/usr/bin/env bash
# Instructions that the kernels take for one image of the embedded net's convolutions: on this
# machine under callgrind, as ARM cores in qemu-user, one by one.
#
#   instructions.sh HERE ARM     picket-kernels, of this machine and static for aarch64
#
# Each count is that of a run over one image less that of a run over none. callgrind knows no
# AVX-512: of the x86 paths it counts scalar and avx2.
set -euo pipefail

here=${1:?the binary for this machine is needed}
arm=${2:?the binary for aarch64 is needed}
qemu=qemu-aarch64-static
# One instruction in a block, each block in the log: the option has two names.
if "$qemu" -h | grep -q -- -one-insn-per-tb; then single=-one-insn-per-tb; else single=-singlestep; fi

in_callgrind() { # KERNEL IMAGES
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$here" layers "$1" "$2" 2>&1 >/dev/null |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

in_qemu() { # CORE KERNEL IMAGES
  "$qemu" -cpu "$1" "$single" -d exec,nochain -D /dev/stderr "$arm" layers "$2" "$3" 2>&1 >/dev/null |
    grep -c '^Trace'
}

row() { printf '%-8s  %-12s  %12s\n' "$@"; }

row path core instructions
for kernel in scalar avx2; do
  row "$kernel" x86-64 $(($(in_callgrind $kernel 1) - $(in_callgrind $kernel 0)))
done
for pair in neon:cortex-a53 neon:cortex-a72 dotprod:cortex-a76 i8mm:max; do
  kernel=${pair%%:*} core=${pair#*:}
  row "$kernel" "$core" $(($(in_qemu "$core" "$kernel" 1) - $(in_qemu "$core" "$kernel" 0)))
done
