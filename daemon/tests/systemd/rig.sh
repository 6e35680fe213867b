#!/usr/bin/env bash
# Boots a real systemd as PID 1 in a container of its own, installs the real units and the real binary
# at their real paths, and proves what docs/systemd.md promises: one line `ok NAME: what was seen` for
# each check of checks.sh.
#
#   rig.sh --picket FILE --freeze FILE [--size ci|full] [--cache DIR] [CHECK…]
#   rig.sh --tarball FILE [--cache DIR]
#   rig.sh --fetch [--cache DIR]
#
# The second form has nothing but the release's archive, follows the commands of its INSTALL.md as they
# stand there, and says what is installed, served and left behind. The third fetches the container's system,
# which the others do when it is not there, and ends.
#
# --freeze is picket-freeze of the package picket-testkit.
#
# Needs root, debootstrap, systemd-nspawn and Python. The machine's own PID 1 may be anything, its
# cgroups of either version.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../../.." && pwd)

picket=
freeze=
tarball=
fetch=
size=ci
cache=$project/.cache/systemd
checks=()
while [ $# -gt 0 ]; do
  case $1 in
    --picket | --freeze | --tarball | --size | --cache) declare "${1#--}=${2:?$1 needs a value}"; shift 2 ;;
    --picket=* | --freeze=* | --tarball=* | --size=* | --cache=*) declare "$(cut -c3- <<<"${1%%=*}")=${1#*=}"; shift ;;
    --fetch) fetch=yes; shift ;;
    -*) echo "rig: there is no option $1" >&2; exit 64 ;;
    *) checks+=("$1"); shift ;;
  esac
done
for program in picket freeze; do
  [ -n "$fetch" ] || [ -e "$tarball" ] || [ -x "${!program}" ] || { echo "rig: --$program FILE is needed" >&2; exit 64; }
done
[ "$(id -u)" = 0 ] || { echo "rig: root is needed" >&2; exit 77; }

suite=bookworm
name=picket-rig-$$
work=$(mktemp -d "${TMPDIR:-/var/tmp}/$name.XXXX")
root=$work/root
console=$work/console
init=

# Longest wait for the container to boot, in tenths of a second.
boot_max=600

make_rootfs() { # once; 296 MB
  [ ! -e "$cache/rootfs/etc/rig-complete" ] || return 0
  local mirror
  mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
  rm -rf "$cache/rootfs"
  mkdir -p "$cache"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,curl,python3 \
    "$suite" "$cache/rootfs" "${mirror:-http://deb.debian.org/debian}" >"$cache/debootstrap.log" ||
    { tail -n 5 "$cache/debootstrap.log" >&2; return 1; }
  touch "$cache/rootfs/etc/rig-complete"
}

# The cached system under a layer in memory: each run starts from a fresh installation.
mount_root() {
  mkdir -p "$work/layer" "$root"
  mount -t tmpfs -o size=1g tmpfs "$work/layer"
  mkdir "$work/layer/upper" "$work/layer/work"
  mount -t overlay -o "lowerdir=$cache/rootfs,upperdir=$work/layer/upper,workdir=$work/layer/work" \
    overlay "$root"
}

# As docs/systemd.md has it done by hand; sysusers and tmpfiles follow at boot.
install_picket() {
  install -D -m 755 "$picket" "$root/usr/bin/picket"
  install -D -m 644 -t "$root/etc/systemd/system" "$project"/systemd/picket.service \
    "$project"/systemd/*.socket
  install -D -m 644 "$project/systemd/sysusers.d/picket.conf" "$root/etc/sysusers.d/picket.conf"
  install -D -m 644 "$project/systemd/tmpfiles.d/picket.conf" "$root/etc/tmpfiles.d/picket.conf"
  install -D -m 644 "$project/systemd/picket.toml" "$root/etc/picket/picket.toml"
  install -D -m 644 "$project/daemon/tests/data/cifar10/cat.png" "$root/opt/cat.png"
}

prepare_root() {
  # Persistent: what was said before a restart is what the checks look for.
  mkdir -p "$root/var/log/journal"
  # nspawn mounts the controllers of cgroup version 1 read-only; without this MemoryMax= is not enforced.
  cat >"$root/sbin/rig-init" <<'INIT'
#!/bin/sh
for controller in memory pids cpu cpuacct; do
  [ -d /sys/fs/cgroup/$controller ] && mount -o remount,bind,rw /sys/fs/cgroup/$controller
done
exec /lib/systemd/systemd "$@"
INIT
  chmod 755 "$root/sbin/rig-init"
}

boot() {
  local controller
  for controller in memory pids cpu cpuacct; do
    [ ! -d "/sys/fs/cgroup/$controller" ] || mkdir -p "/sys/fs/cgroup/$controller/$name"
  done
  (
    for controller in memory pids cpu cpuacct; do
      [ ! -d "/sys/fs/cgroup/$controller" ] || echo 0 >"/sys/fs/cgroup/$controller/$name/cgroup.procs"
    done
    exec systemd-nspawn -q -D "$root" --register=no --keep-unit --private-network \
      --kill-signal=SIGRTMIN+3 --machine="$name" --console=pipe /sbin/rig-init
  ) </dev/null >"$console" 2>&1 &
  nspawn=$!
  local state
  for _ in $(seq "$boot_max"); do
    init=$(pgrep -P "$nspawn" || true)
    if [ -n "$init" ] && [ -S "/proc/$init/root/run/systemd/private" ]; then
      state=$(inside systemctl is-system-running 2>/dev/null || true)
      case $state in running | degraded) return 0 ;; esac
    fi
    kill -0 "$nspawn" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$console" >&2
  return 1
}

# inside COMMAND…: in the container, as its root.
inside() {
  nsenter -t "$init" -m -u -i -n -p -C -r -w env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_COLORS=0 SYSTEMD_PAGER=cat LC_ALL=C "$@"
}

# beside COMMAND…: this machine's programs on the container's network.
beside() {
  nsenter -t "$init" -n "$@"
}

clean_up() {
  [ -z "${nspawn:-}" ] || { kill "$nspawn" && wait "$nspawn"; } 2>/dev/null || true
  umount "$root" "$work/layer" 2>/dev/null || true
  local controller
  for controller in memory pids cpu cpuacct; do
    [ ! -d "/sys/fs/cgroup/$controller/$name" ] ||
      find "/sys/fs/cgroup/$controller/$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
  rm -rf "$work"
}
trap clean_up EXIT

# shellcheck source=daemon/tests/systemd/checks.sh
. "$here/checks.sh"
# shellcheck source=daemon/tests/systemd/tarball.sh
. "$here/tarball.sh"

started=$SECONDS
make_rootfs
[ -z "$fetch" ] || exit 0
mount_root
[ -n "$tarball" ] || install_picket
prepare_root
boot
printf 'booted: %s as PID 1 (%s), %s s\n' "$(inside systemctl --version | sed -n '1s/systemd \([0-9]*\).*/systemd \1/p')" \
  "$(inside cat /proc/1/comm)" $((SECONDS - started))
if [ -n "$tarball" ]; then
  follow_instructions
else
  run_checks "${checks[@]}"
fi
