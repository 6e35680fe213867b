#!/usr/bin/env bash
# A device: Debian's arm64 system with its own kernel and systemd as PID 1 in an emulated board (4 GB of
# disk, 1 GB of memory, two Cortex-A72). Installs Picket from its package, pulls the plug and proves what
# docs/device.md shows: one line `ok NAME: what was seen` for each check of checks.sh, in their order.
#
#   rig.sh --deb FILE [--previous FILE] [--cache DIR]
#
# --previous is the package that is upgraded from; without it the same binary is packed as an older
# version with another sample configuration. Needs root, debootstrap, qemu-user-static, nbdkit, kmod,
# cpio, e2fsprogs, Python.
#
# What a power cut takes: the board's disk is a volatile cache (nbdkit's cache filter) before an image.
# Only a flush of the guest's moves it into the image; the plug kills board and cache together.
set -eEuo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../../.." && pwd)

deb=
previous=
cache=$project/.cache/device
while [ $# -gt 0 ]; do
  case $1 in
    --deb | --previous | --cache) declare "${1#--}=${2:?$1 needs a value}"; shift 2 ;;
    *) echo "rig: there is no option $1" >&2; exit 64 ;;
  esac
done
[ -e "$deb" ] || { echo "rig: --deb FILE is needed" >&2; exit 64; }
[ "$(id -u)" = 0 ] || { echo "rig: root is needed" >&2; exit 77; }
mkdir -p "$cache"

suite=bookworm
work=$(mktemp -d "${TMPDIR:-/var/tmp}/picket-device.XXXX")
board=
disk=
started=$SECONDS
trap 'pull_the_plug; rm -rf "$work"' EXIT
trap 'echo "rig: line $LINENO: $BASH_COMMAND" >&2' ERR

# Longest wait for a boot, seconds: emulation on a busy machine takes minutes.
boot_max=900
# Longest silence of a command on the board, seconds; while it boots, a connection may lead nowhere.
silence_max=900
silence_of_boot_max=20

# To the transcript, whatever standard output is.
exec 3>&1
say() { printf '[%4s s] %s\n' $((SECONDS - started)) "$*" >&3; }

# once NAME COMMAND…: what the cache keeps.
once() {
  local mark=$cache/$1.complete
  shift
  [ -e "$mark" ] || { "$@" && touch "$mark"; }
}

# Installing qemu-system by apt may remove a newer qemu-utils: it is unpacked.
unpack_qemu() {
  local packages
  mkdir -p "$cache/qemu" "$cache/debs"
  packages=$(apt-get -s install --no-install-recommends qemu-system-arm 2>/dev/null | awk '/^Inst/{print $2}')
  # shellcheck disable=SC2086  # a list of words
  (cd "$cache/debs" && apt-get -qq -o APT::Sandbox::User=root download $packages)
  for package in "$cache"/debs/*.deb; do dpkg -x "$package" "$cache/qemu"; done
  rm -rf "$cache/debs"
}

# Debian's kernel for virtual machines and a static busybox, for arm64, beside this system's packages.
unpack_kernel() {
  local kernel
  mkdir -p "$cache"/apt/{lists/partial,archives/partial} "$cache/debs" "$cache/kernel"
  cat >"$cache/apt.conf" <<CONF
Dir::State::lists "$cache/apt/lists";
Dir::Cache "$cache/apt";
APT::Architectures { "amd64"; "arm64"; };
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
  (
    export APT_CONFIG=$cache/apt.conf
    apt-get -qq update
    kernel=$(apt-cache depends linux-image-cloud-arm64:arm64 | awk '/Depends/{print $2; exit}')
    cd "$cache/debs" && apt-get -qq download "${kernel%:arm64}:arm64" busybox-static:arm64
  )
  for package in "$cache"/debs/*.deb; do dpkg -x "$package" "$cache/kernel"; done
  rm -rf "$cache/debs" "$cache/apt"
  depmod -b "$cache/kernel" "$(ls "$cache/kernel/lib/modules")"
}

# The second stage runs arm64 programs here, through the kernel's binfmt_misc.
make_rootfs() {
  local mirror
  [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
  [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] ||
    cat /usr/lib/binfmt.d/qemu-aarch64.conf >/proc/sys/fs/binfmt_misc/register
  mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
  rm -rf "$cache/rootfs"
  debootstrap --arch=arm64 --variant=minbase \
    --include=systemd,systemd-sysv,dbus,udev,kmod,procps,init-system-helpers,libsystemd0 \
    "$suite" "$cache/rootfs" "${mirror:-http://deb.debian.org/debian}" >"$cache/debootstrap.log" ||
    { tail -n 5 "$cache/debootstrap.log" >&2; return 1; }
  rm -rf "$cache"/rootfs/var/cache/apt/archives/*.deb "$cache"/rootfs/var/lib/apt/lists/*
}

# What a system on a board has beside: a name, a network, a journal that stays, and the rig's own way in.
furnish() {
  local root=$cache/rootfs
  mkdir -p "$root/lib/modules" "$root/var/log/journal" "$root/etc/systemd/system/sockets.target.wants"
  cp -a "$cache/kernel/lib/modules/." "$root/lib/modules/"
  echo picket-device >"$root/etc/hostname"
  echo virtio_net >"$root/etc/modules-load.d/rig.conf"
  echo '/dev/vda / ext4 rw,noatime,errors=remount-ro,data_err=abort,commit=60 0 1' >"$root/etc/fstab"
  printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/rig.network"
  ln -sf /lib/systemd/system/systemd-networkd.service "$root/etc/systemd/system/multi-user.target.wants/"
  # A root shell for each connection: the text that comes is run, its output goes back.
  printf '[Socket]\nListenStream=9000\nAccept=yes\n' >"$root/etc/systemd/system/rig.socket"
  printf '[Service]\nExecStart=-/bin/bash -s\nStandardInput=socket\nStandardError=inherit\nEnvironment=%s %s %s\n' \
    'PATH=/usr/sbin:/usr/bin:/sbin:/bin' LC_ALL=C DEBIAN_FRONTEND=noninteractive \
    >"$root/etc/systemd/system/rig@.service"
  ln -sf ../rig.socket "$root/etc/systemd/system/sockets.target.wants/rig.socket"
}

# Debian's kernel has its disk driver and ext4 as modules.
make_initrd() {
  local tree=$work/initrd version number=0
  version=$(ls "$cache/kernel/lib/modules")
  mkdir -p "$tree"/{bin,proc,sys,dev,root,modules}
  cp "$cache/kernel/bin/busybox" "$tree/bin/"
  for module in virtio_pci virtio_blk crc32c_generic ext4; do
    modprobe -d "$cache/kernel" -S "$version" --show-depends "$module" | awk '/^insmod/{print $2}'
  done | awk '!seen[$0]++' | while read -r module; do
    number=$((number + 1))
    cp "$module" "$tree/modules/$(printf '%02d' $number)-$(basename "$module")"
  done
  cat >"$tree/init" <<'INIT'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module; done
$b mount -t ext4 -o data_err=abort /dev/vda /root || exec $b sh
$b umount /proc /sys; $b mount --move /dev /root/dev
exec $b switch_root /root /sbin/init
INIT
  chmod 755 "$tree/init"
  (cd "$tree" && find . | cpio -oH newc 2>/dev/null | gzip -1 >"$cache/initrd.gz")
}

make_image() {
  rm -f "$cache/disk.img"
  mke2fs -q -t ext4 -d "$cache/rootfs" "$cache/disk.img" 4G
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

boot() {
  local from=$SECONDS
  rm -f "$work/disk.sock"
  TMPDIR=$work nbdkit --foreground --unix "$work/disk.sock" --filter=cache file "$work/disk.img" \
    cache=writeback &
  disk=$!
  until [ -S "$work/disk.sock" ]; do kill -0 "$disk"; sleep 0.1; done
  shell=$(free_port) api=127.0.0.1:$(free_port) probe=127.0.0.1:$(free_port)
  LD_LIBRARY_PATH=$cache/qemu/usr/lib/x86_64-linux-gnu:$cache/qemu/lib/x86_64-linux-gnu \
    "$cache/qemu/usr/bin/qemu-system-aarch64" -L "$cache/qemu/usr/share/qemu" -M virt -cpu cortex-a72 \
    -smp 2 -m 1024 -accel tcg,thread=multi -no-reboot \
    -kernel "$cache"/kernel/boot/vmlinuz-* -initrd "$cache/initrd.gz" -append 'root=/dev/vda rw console=ttyAMA0' \
    -drive "file=nbd:unix:$work/disk.sock,format=raw,if=none,id=disk,cache=writeback" \
    -device virtio-blk-pci,drive=disk -device virtio-rng-pci \
    -netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$shell-:9000,hostfwd=tcp:$api-:8000,hostfwd=tcp:$probe-:8001" \
    -device virtio-net-pci,netdev=net,romfile= -display none -monitor none -serial "file:$work/console" &
  board=$!
  until python3 "$here/shell.py" "$shell" $silence_of_boot_max 'systemctl is-system-running' 2>/dev/null |
    grep -qxE 'running|degraded'; do
    if ! kill -0 "$board" 2>/dev/null || [ $((SECONDS - from)) -gt $boot_max ]; then
      tail -n 20 "$work/console" >&2
      echo "rig: it does not boot" >&2
      exit 1
    fi
    sleep 1
  done
  # shellcheck disable=SC2016  # the board's shell expands it
  say "booted: $(inside 'echo "$(uname -m), Linux $(uname -r), $(systemctl --version | sed -n "1s/ (.*//p") as PID 1 ($(cat /proc/1/comm)), cgroup $(stat -fc %T /sys/fs/cgroup)"'), $((SECONDS - from)) s"
}

# inside COMMAND…: in the board's root shell; its exit status is the command's.
inside() {
  python3 "$here/shell.py" "$shell" $silence_max "$*"
}

# Board and disk at once, nothing flushed.
pull_the_plug() {
  local process
  for process in "$board" "$disk"; do
    [ -z "$process" ] || kill -KILL "$process" 2>/dev/null || true
  done
  for process in "$board" "$disk"; do
    [ -z "$process" ] || wait "$process" 2>/dev/null || true
  done
  board=
  disk=
}

# The package that is upgraded from, when none is given.
pack_previous() {
  local tree=$work/previous
  dpkg-deb -R "$deb" "$tree"
  sed -i 's/^Version: .*/Version: 0.0.9-1/' "$tree/DEBIAN/control"
  # So that dpkg finds the sample changed by the package and by the administrator.
  sed -i '1s/^/# The sample of an older version.\n/' "$tree/etc/picket/picket.toml"
  dpkg-deb --root-owner-group -Zgzip -b "$tree" "$work/previous.deb" >/dev/null
  previous=$work/previous.deb
}

# shellcheck source=daemon/tests/device/checks.sh
. "$here/checks.sh"

once qemu unpack_qemu
once kernel unpack_kernel
once rootfs make_rootfs
once furnished furnish
once initrd make_initrd
once image make_image
[ -n "$previous" ] || pack_previous
cp --sparse=always "$cache/disk.img" "$work/disk.img"
# As from a memory stick: the packages, and for the check of the rig itself two files of a block for each cut.
head -c $((cuts_max * 4096)) /dev/zero >"$work/blank"
{
  echo "write $previous /root/previous.deb"
  echo "write $deb /root/picket.deb"
  echo "write $work/blank /root/flushed"
  echo "write $work/blank /root/unflushed"
} | debugfs -w "$work/disk.img" >/dev/null 2>&1
say "disk ready"
boot
run_checks
