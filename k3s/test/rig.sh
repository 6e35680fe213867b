#!/usr/bin/env bash
# Starts a real one-node Kubernetes, applies the manifests of k3s/ as they are shipped, and proves what
# docs/k3s.md promises from the API's own events and endpoints: one line `ok NAME: what was seen` for
# each check of checks.sh.
#
#   rig.sh --image TARBALL --freeze FILE [--cache DIR] [CHECK…]
#
# --freeze is picket-freeze of the package picket-testkit. Needs root and what build.sh makes. Everything
# runs in namespaces of its own (network, mounts, processes, host name, IPC) and in control groups of its
# own; the machine's are left as they are.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)

image=
freeze=
cache=$project/.cache/k8s
checks=()
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --image | --freeze | --cache) declare "${1#--}=${2:?$1 needs a value}"; shift 2 ;;
    --image=* | --freeze=* | --cache=*) declare "$(cut -c3- <<<"${1%%=*}")=${1#*=}"; shift ;;
    -*) echo "rig: there is no option $1" >&2; exit 64 ;;
    *) checks+=("$1"); shift ;;
  esac
done
[ -f "$image" ] || { echo "rig: --image TARBALL is needed" >&2; exit 64; }
[ -x "$freeze" ] || { echo "rig: --freeze FILE is needed" >&2; exit 64; }
[ "$(id -u)" = 0 ] || { echo "rig: root is needed" >&2; exit 77; }
image=$(realpath "$image")
freeze=$(realpath "$freeze")
cache=$(realpath "$cache")

controllers=(cpu cpuacct cpuset memory devices freezer blkio pids systemd)

# Outside: a control group, the namespaces, and at the end neither.
if [ -z "${PICKET_RIG:-}" ]; then
  name=picket-rig-$$
  work=$(mktemp -d "${TMPDIR:-/var/tmp}/$name.XXXX")
  for controller in "${controllers[@]}"; do
    group=/sys/fs/cgroup/$controller/$name
    [ -d "${group%/*}" ] || continue
    mkdir -p "$group"
    # An empty set of cores or memory takes no process.
    [ "$controller" != cpuset ] || for file in cpuset.cpus cpuset.mems; do
      cat "${group%/*}/$file" >"$group/$file"
    done
  done
  code=0
  PICKET_RIG=$name:$work unshare --net --mount --pid --uts --ipc --fork --mount-proc --propagation slave \
    bash "$0" "${arguments[@]}" || code=$?
  for _ in 1 2 3; do
    for controller in "${controllers[@]}"; do
      find "/sys/fs/cgroup/$controller/$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
  done
  rm -rf "$work"
  exit $code
fi

# Inside, as PID 1.
name=${PICKET_RIG%%:*}
work=${PICKET_RIG#*:}
volumes=$work/disk
kubectl=$cache/kubectl/usr/bin/kubectl
export PATH=$cache/bin:$cache/node/usr/bin:$cache/node/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin
# shellcheck source=k3s/test/cluster.sh
. "$here/cluster.sh"
# shellcheck source=k3s/test/checks.sh
. "$here/checks.sh"

# The node's disk: small, so that it fills quickly.
make_disk() {
  truncate -s 96M "$work/disk.img"
  mkfs.ext4 -q -m 0 "$work/disk.img"
}
mount_disk() {
  mount -o loop,errors=remount-ro,data_err=abort "$work/disk.img" "$volumes"
}

start_node() {
  start_containerd
  start_control_plane
  start_kubelet
  answers kubelet node_is_ready
}

import() {
  ctr -a /run/ctd.sock -n k8s.io images import "$1" >>"$log/import" 2>&1 ||
    { tail -n 3 "$log/import" >&2; return 1; }
}

mount --make-rshared /
configure
make_disk
boot_machine
mount_disk
start_node
import "$cache/pause.tar"
import "$image"
printf 'booted: Kubernetes %s, node %s Ready, %s s\n' \
  "$(kube get node $node -o jsonpath='{.status.nodeInfo.kubeletVersion}')" $node $SECONDS
kube apply -k "$here/cluster" >/dev/null
run_checks "${checks[@]}"
