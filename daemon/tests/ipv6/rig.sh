#!/usr/bin/env bash
# A pod with IPv6 only, without a cluster: one network namespace is the pod, another the node.
#
#   rig.sh PICKET
#
# The daemon runs with its default listeners. It must be asked as a kubelet asks: by the pod's address from the
# node, and by [::1] from within. One line `ok NAME: what was seen` for each check. Needs root and iproute2;
# takes a few seconds. No IPv4 address exists in either namespace, not on loopback either.
set -euo pipefail
picket=${1:?rig.sh: which binary?}
pod=picket-pod-$$ node=picket-node-$$
address=fd00:10:244::2
work=$(mktemp -d)
daemon=

cleanup() {
  [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
  wait
  ip netns delete "$pod" 2>/dev/null || true
  ip netns delete "$node" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

fail() { printf 'ipv6: %s\n' "$*" >&2; tail -n 5 "$work/log" >&2 || true; exit 1; }
ok() { printf 'ok %s\n' "$*"; }

# ask NAMESPACE URL [CURL ARGUMENTS]: the status and the body, on one line.
ask() { ip netns exec "$1" curl --globoff --silent --max-time 5 --write-out ' %{http_code}' "${@:2}"; }

ip netns add "$pod"
ip netns add "$node"
ip -n "$node" link add eth0 type veth peer name eth0 netns "$pod"
ip -n "$node" address add fd00:10:244::1/64 dev eth0 nodad
ip -n "$pod" address add "$address/64" dev eth0 nodad
for each in "$pod" "$node"; do
  ip -n "$each" link set lo up
  ip -n "$each" link set eth0 up
  ip -4 -n "$each" address flush dev lo
done
! ip -4 -n "$pod" -brief address | grep -q '[0-9]\.' || fail "the pod has an IPv4 address"

ip netns exec "$pod" "$picket" serve --state-dir "$work/state" --message-format text 2>"$work/log" &
daemon=$!
for _ in $(seq 100); do
  grep -q ' ready' "$work/log" && break
  kill -0 "$daemon" || fail "the daemon ended while starting"
  sleep 0.2
done
grep -q '\[::\]:8001' "$work/log" || fail "the probes do not listen on [::]:8001"

for from in "$pod [::1]" "$pod [$address]" "$node [$address]"; do
  read -r namespace host <<<"$from"
  for path in health ready; do
    answer=$(ask "$namespace" "http://$host:8001/$path") || fail "/$path at $host from $namespace: no answer"
    [[ $answer == *' 200' ]] || fail "/$path at $host from $namespace: $answer"
  done
  ok "probes at $host from ${namespace%-*}: 200"
done
head -c 3072 /dev/zero >"$work/picture"
answer=$(ask "$node" "http://[$address]:8000/predict?durable=true" --data-binary "@$work/picture" \
  --header 'Content-Type: application/octet-stream') || fail "no prediction from the node"
[[ $answer == *'"durable":true'*' 200' ]] || fail "a prediction from the node: $answer"
ok "prediction at [$address] from the node: 200, durable"
kill "$daemon"
wait "$daemon" || fail "the daemon ends with $?"
daemon=
ok "stopped: 0"
