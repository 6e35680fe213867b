# A node with all its parts in namespaces of its own: etcd, apiserver, controller manager, scheduler,
# kubelet, containerd. Sourced by rig.sh as PID 1 of those namespaces, so that `power_cut` may kill
# everything else.
# shellcheck shell=bash

node=edge-node
address=10.87.0.1
api_server=https://127.0.0.1:16443
# Longest wait for a part to answer, in fifths of a second.
part_max=3000
log=$work/log

# What a boot begins with: fresh /run, a network, and nothing of this machine's kernel to turn.
boot_machine() {
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/{netns,lock,ctd}
  mount --make-shared /run
  local setting
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    [ -e "/proc/sys/${setting%=*}" ] || continue
    # The kubelet sets these: it gets files of its own in their place.
    echo "${setting#*=}" >"$work/sysctl-${setting//[\/=]/-}"
    mount --bind "$work/sysctl-${setting//[\/=]/-}" "/proc/sys/${setting%=*}"
  done
  hostname $node
  ip link set lo up
  ip link show lan0 >/dev/null 2>&1 || ip link add lan0 type bridge
  ip address replace $address/24 dev lan0
  ip link set lan0 up
  ip route replace default via 10.87.0.254
}

configure() {
  mkdir -p "$work"/{pki,cni,containerd,kubelet,log,etcd} "$volumes"
  cat >"$work/cni/10-rig.conflist" <<CNI
{"cniVersion": "0.4.0", "name": "rig", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "$work/ipam",
            "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
CNI
  cat >"$work/containerd.toml" <<CONTAINERD
version = 2
root = "$work/containerd"
state = "/run/ctd"
[grpc]
  address = "/run/ctd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$cache/node/usr/lib/cni"
    conf_dir = "$work/cni"
CONTAINERD
  openssl genrsa -out "$work/pki/sa.key" 2048 2>/dev/null
  echo 'rig,admin,1,"system:masters"' >"$work/pki/tokens.csv"
  cat >"$work/kubeconfig" <<KUBECONFIG
{"apiVersion": "v1", "kind": "Config", "current-context": "rig",
 "clusters": [{"name": "rig", "cluster": {"server": "$api_server", "insecure-skip-tls-verify": true}}],
 "users": [{"name": "rig", "user": {"token": "rig"}}],
 "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "rig", "namespace": "picket"}}]}
KUBECONFIG
  cat >"$work/kubelet.yaml" <<KUBELET
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$name
failSwapOn: false
oomScoreAdj: 0
evictionHard: {imagefs.available: "1%", nodefs.available: "1%", memory.available: 100Mi, nodefs.inodesFree: "1%"}
address: $address
clusterDNS: [10.96.0.10]
readOnlyPort: 0
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
KUBELET
}

# part NAME COMMAND…: runs until the power is cut, of which bash need not tell.
part() {
  "${@:2}" >>"$log/$1" 2>&1 </dev/null &
  disown
}

start_control_plane() {
  part etcd etcd --data-dir "$work/etcd" --listen-client-urls http://127.0.0.1:12379 \
    --advertise-client-urls http://127.0.0.1:12379 --listen-peer-urls http://127.0.0.1:12380
  part apiserver kube-apiserver --etcd-servers=http://127.0.0.1:12379 --bind-address=127.0.0.1 \
    --advertise-address=$address --secure-port=16443 --cert-dir="$work/pki" \
    --token-auth-file="$work/pki/tokens.csv" --authorization-mode=Node,RBAC --allow-privileged=true \
    --enable-admission-plugins=NodeRestriction,PodSecurityPolicy --service-cluster-ip-range=10.96.0.0/24 \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-signing-key-file="$work/pki/sa.key" --service-account-key-file="$work/pki/sa.key" \
    --kubelet-preferred-address-types=InternalIP
  answers apiserver kube get --raw /readyz
  part controller-manager kube-controller-manager --kubeconfig="$work/kubeconfig" \
    --service-account-private-key-file="$work/pki/sa.key" --root-ca-file="$work/pki/apiserver.crt" \
    --use-service-account-credentials=false --leader-elect=false --controllers='*,-ttl'
  part scheduler kube-scheduler --kubeconfig="$work/kubeconfig" --leader-elect=false
}

start_containerd() {
  part containerd containerd -c "$work/containerd.toml"
  answers containerd ctr -a /run/ctd.sock version
}

start_kubelet() {
  part kubelet kubelet --config="$work/kubelet.yaml" --kubeconfig="$work/kubeconfig" \
    --root-dir="$work/kubelet" --cert-dir="$work/pki" --container-runtime=remote \
    --container-runtime-endpoint=unix:///run/ctd.sock --image-service-endpoint=unix:///run/ctd.sock \
    --hostname-override=$node --node-ip=$address
}

node_is_ready() {
  [ "$(kube get node $node -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ]
}

# answers PART COMMAND…: within the patience.
answers() {
  local part=$1
  shift
  for _ in $(seq $part_max); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.2
  done
  echo "rig: $part does not answer" >&2
  tail -n 5 "$log/$part" >&2
  return 1
}

# Every process but this shell dies at once, and what a reboot forgets is gone; the disks stay.
power_cut() {
  kill -9 -1
  wait
  local mounted
  while mounted=$(awk -v work="$work/kubelet/" '$5 ~ "^/run(/|$)" || index($5, work) == 1 { print $5 }' \
    /proc/self/mountinfo | tail -n 1) && [ -n "$mounted" ]; do
    umount -l "$(printf '%b' "$mounted")"
  done
  ip link delete cni0 2>/dev/null || true
}

kube() { "$kubectl" --kubeconfig="$work/kubeconfig" "$@"; }
