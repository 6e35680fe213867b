# The checks of rig.sh, in the order in which they run; what runs them is daemon/tests/runner.sh.
# shellcheck shell=bash

# Longest time that a check waits for what a healthy machine does at once, seconds.
patience=180
# Where the volumes of cluster/volume.yaml and fleet/kustomization.yaml lie.
state=$volumes/local-path
fleet=$volumes/fleet
selector=app.kubernetes.io/name=picket

# shellcheck source=daemon/tests/runner.sh
. "$here/../../daemon/tests/runner.sh"

last_words() {
  kube get pods -o wide
  kube get events --sort-by=.lastTimestamp | tail -n 12
  kube logs --tail=12 -l $selector
}

# A fresh log and what is shipped.
prepare() {
  mkdir -p "$state"
  chmod 777 "$state"
  render single-node | kube apply -f - >/dev/null
  sed "s#VOLUMES#$volumes#" "$here/cluster/volume.yaml" | kube apply -f - >/dev/null
  until_true "a pod that is ready" is_ready
}

undo() {
  kube uncordon $node >/dev/null
  kube delete --ignore-not-found --wait deployment/picket daemonset/picket >/dev/null
  until_true "no pod is left" no_pod
  kube delete --ignore-not-found --wait persistentvolumeclaim --all >/dev/null
  kube delete --ignore-not-found --wait persistentvolume --all >/dev/null
  kube delete --ignore-not-found secret/picket-token >/dev/null
  kube delete --ignore-not-found events --all >/dev/null
  rm -rf "${state:?}" "${fleet:?}" "$volumes/filler"
}

# render OVERLAY: the manifests, with the rig's disk for the node's.
render() { "$kubectl" kustomize "$here/$1" | sed "s#VOLUMES#$volumes#"; }

# Of the newest pod: a field, as jsonpath.
pod() {
  kube get pods -l $selector --sort-by=.metadata.creationTimestamp \
    -o jsonpath="{.items[-1:]$1}" 2>/dev/null || true
}
name_of_pod() { pod .metadata.name; }
restarts() { pod '.status.containerStatuses[0].restartCount'; }
condition_ready() { pod '.status.conditions[?(@.type=="Ready")].status'; }
is_ready() { [ "$(condition_ready)" = True ] && [ -z "$(pod .metadata.deletionTimestamp)" ]; }
not_ready() { [ "$(condition_ready)" = False ]; }
runs() { [ "$(pod '.status.containerStatuses[0].started')" = true ]; }
no_pod() { [ -z "$(kube get pods -l $selector -o name)" ]; }
restarted() { [ "$(restarts)" = "$1" ]; }
another_pod() { [ "$(name_of_pod)" != "$1" ]; }
endpoints() { kube get endpoints picket -o jsonpath='{.subsets[*].addresses[*].ip}'; }
in_service() { [ "$(endpoints)" = "$(pod .status.podIP)" ]; }
out_of_service() { [ -z "$(endpoints)" ]; }

# events REASON TEXT: how often the kubelet said so of the pods.
events() {
  kube get events --field-selector "involvedObject.kind=Pod,reason=$1" \
    -o jsonpath='{range .items[*]}{.count}{" "}{.message}{"\n"}{end}' |
    awk -v text="$2" 'index($0, text) { n += $1 } END { print n + 0 }'
}
events_reach() { [ "$(events "$1" "$2")" -ge "$3" ]; }

status_of() { curl -s -o /dev/null --max-time 5 -w '%{http_code}' "http://$(pod .status.podIP):$1"; }
# get PORT/PATH: the body, whatever the status.
get() { curl -s --max-time 5 "http://$(pod .status.podIP):$1"; }
predict() {
  curl -s --max-time 10 --data-binary "@$project/daemon/tests/data/cifar10/cat.png" \
    -H 'Content-Type: image/png' "http://$(pod .status.podIP):8000/predict$1"
}
id_of() { sed -n 's/.*"id":\([0-9]*\).*/\1/p'; }
# The daemon's process, as this shell sees it.
daemon() { pgrep -x picket | tail -n 1; }
# Every record is there and the chain is whole; the daemon itself is asked.
verify() { kube exec "$(name_of_pod)" -- /picket log verify --store /var/lib/picket/log --json; }
# says TEXT: the pod's container, since it was started.
says() { tells "$1" kube logs "$(name_of_pod)" 2>/dev/null; }
# said_before TEXT: the container before it.
said_before() { tells "$1" kube logs --previous "$(name_of_pod)"; }
# field NAME JSON
field() { sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" <<<"$2"; }

check_restricted() {
  local seen
  [ "$(pod '.metadata.annotations.kubernetes\.io/psp')" = restricted ] || wrong "another policy admitted it"
  ! seen=$(kube run intruder --image="$(pod '.spec.containers[0].image')" --restart=Never \
    --overrides='{"spec": {"securityContext": {"runAsUser": 0}}}' 2>&1) || wrong "anything is admitted"
  grep -q PodSecurityPolicy <<<"$seen" || wrong "refused for another reason: $seen"
  local process
  process=/proc/$(daemon)
  for seen in 'Uid:.65532' 'Gid:.65532' 'CapEff:.0*$' 'CapBnd:.0*$' 'NoNewPrivs:.1' 'Seccomp:.2'; do
    grep -qE "$seen" "$process/status" || wrong "$seen is not so: $(tr '\n' ' ' <"$process/status")"
  done
  awk '$5 == "/" && $6 ~ /^ro(,|$)/ { found = 1 } END { exit !found }' "$process/mountinfo" ||
    wrong "the root can be written to"
  seen=$(kube exec "$(name_of_pod)" -- sh -c id 2>&1) && wrong "there is a shell: $seen"
  [ ! -e "$process/root/var/run/secrets" ] || wrong "it holds a token"
  echo "admitted by policy restricted, a pod of root refused; uid 65532, no capability, seccomp, read-only root, no shell, no token"
}

check_ready() {
  kube scale deployment/picket --replicas=0 >/dev/null
  until_true "no pod is left" no_pod
  # The daemon reads its model from here, for as long as nobody writes it.
  mkfifo "$state/model.onnx"
  chmod 644 "$state/model.onnx"
  kube set env deployment/picket PICKET_MODEL_PATH=/var/lib/picket/model.onnx >/dev/null
  kube scale deployment/picket --replicas=1 >/dev/null
  until_true "a started container" runs
  until_true "two failed readiness probes" events_reach Unhealthy "Readiness probe failed: HTTP probe failed with statuscode: 503" 2
  local health ready began
  health=$(status_of 8001/health)
  ready=$(get 8001/ready)
  [ "$health" = 200 ] || wrong "/health says $health while the model loads"
  [[ $ready == *'"reason":"starting"'* ]] || wrong "/ready says $ready"
  not_ready || wrong "ready without a model"
  out_of_service || wrong "in service without a model"
  began=$(now)
  timeout 10 sh -c 'cat "$1" >"$2"' - "$project/daemon/crates/classifier/embedded/cifar10-int8.onnx" "$state/model.onnx" ||
    wrong "nobody reads the model"
  until_true "ready" is_ready
  until_true "in service" in_service
  says '"model loaded"' || wrong "no word of the model"
  [ "$(restarts)" = 0 ] || wrong "restarted meanwhile"
  echo "started, /health 200, /ready 503 starting, out of the endpoints; in $(since "$began") s after the model came; 0 restarts"
}

check_unready() {
  until_true "in service" in_service
  local ready began out answer
  began=$(now)
  # Less than the 4 MiB that the log wants free.
  dd if=/dev/zero of="$volumes/filler" bs=64K status=none 2>/dev/null || true
  until_true "out of service" out_of_service_under_use
  out=$(since "$began")
  ready=$(get 8001/ready)
  [[ $ready == *'"reason":"database_not_accessible"'* ]] || wrong "/ready says $ready"
  answer=$(predict '')
  [[ $answer == *'"label":"cat"'*'"logged":false'* ]] || wrong "a prediction: $answer"
  rm "$volumes/filler"
  began=$(now)
  until_true "in service again" in_service
  [ "$(restarts)" = 0 ] || wrong "restarted $(restarts) times"
  echo "disk full: /ready 503 database_not_accessible, out of the endpoints after $out s, predictions go on; back $(since "$began") s after there was room; 0 restarts"
}
# An idle daemon has nothing to write, and no disk that is too full for it.
out_of_service_under_use() {
  predict '' >/dev/null
  out_of_service
}

check_frozen() {
  local last began took budget answer
  for _ in 1 2 3; do last=$(predict '?durable=true' | id_of); done
  began=$(now)
  "$freeze" "$(daemon)" worker-0 600 >/dev/null &
  patience=240 until_true "a restart" restarted 1
  took=$(since "$began")
  # 30 s of [health] worker_deadline, at most 10 + 2 × 10 s of the kubelet's probes and 3 s of the last
  # one, 15 s of grace, and 5 s for the kubelet's own work.
  budget=83
  # On a machine short of CPU the daemon waits for 4 deadlines.
  if said_before 'short of cpu'; then budget=$((budget + 90)); fi
  awk -v a="$took" -v b="$budget" 'BEGIN { exit !(a <= b) }' || wrong "restarted after $took s, at most $budget"
  events_reach Unhealthy "Liveness probe failed: HTTP probe failed with statuscode: 500" 3 || wrong "no three failed probes"
  events_reach Killing "failed liveness probe" 1 || wrong "killed for another reason"
  said_before worker-0 || wrong "the log does not name the worker"
  until_true "ready" is_ready
  answer=$(predict '?durable=true' | id_of)
  [ "$answer" = $((last + 1)) ] || wrong "record $answer after $last"
  answer=$(verify) || wrong "the log: $answer"
  echo "worker frozen: restarted after $took s (at most $budget), three 500 of /health; records 1 to $((last + 1)) there"
}

# Predictions as kube-proxy would spread them. Both run in the check's own shell: only that can wait.
start_load() {
  rm -f "$work/stop"
  python3 "$here/load.py" $api_server rig "$project/daemon/tests/data/cifar10/cat.png" "$work/stop" >"$work/load" &
  load=$!
  until_true "answers" test -s "$work/load"
}
stop_load() {
  touch "$work/stop"
  wait "$load" || wrong "the load: $(tail -n 3 "$work/load")"
}

check_rollout() {
  local old seen last
  until_true "in service" in_service
  start_load
  old=$(name_of_pod)
  kube rollout restart deployment/picket >/dev/null
  until_true "another pod" another_pod "$old"
  kube rollout status deployment/picket --timeout=${patience}s >/dev/null || wrong "never rolled out"
  until_true "in service" in_service
  stop_load
  seen=$(tail -n 1 "$work/load")
  [ "$(field lost "$seen")" = 0 ] || wrong "requests that were accepted and not answered: $seen"
  [ "$(field unlogged "$seen")" = 0 ] || wrong "answers without a record: $seen"
  last=$(field last_id "$seen")
  [ "$(field distinct_ids "$seen")" = $((last - $(field first_id "$seen") + 1)) ] || wrong "numbers are missing: $seen"
  # Newest first.
  [[ $(get '8000/predictions?limit=1') == *"\"id\":$last"* ]] || wrong "record $last is not there"
  verify >/dev/null || wrong "the log: $(verify)"
  echo "$(field answered "$seen") answered and in the log, 0 accepted and lost; nobody to ask for $(field longest_gap_secs "$seen") s ($(field nowhere "$seen") tries without an address, $(field refused "$seen") refused)"
}

check_drain() {
  local ip old answer
  ip=$(pod .status.podIP)
  old=$(name_of_pod)
  kube logs -f "$old" >"$work/last-words" &
  # A request that is half there when SIGTERM comes: blanks, as slowly as may be, then the picture.
  exec 4<>"/dev/tcp/$ip/8000"
  printf 'POST /predict?durable=true HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n' "$ip" >&4
  chunk "$(printf '%1024s' '')"
  kube delete pod "$old" --wait=false >/dev/null &
  until grep -q '"stopping"' "$work/last-words"; do
    chunk "$(printf '%1024s' '')" || wrong "the request was cut off"
    sleep 0.5
  done
  chunk "$(awk 'BEGIN { for (i = 1; i < 3072; i++) grey = grey "121,"; printf "{\"data\":[%s121]}", grey }')"
  printf '0\r\n\r\n' >&4
  answer=$(timeout 10 cat <&4)
  [[ $answer == *' 200 OK'*'"durable":true'* ]] || wrong "the request was answered: $answer"
  until_true "its last word" grep -q '"stopped"' "$work/last-words"
  # By the daemon's own clock: the rig may be late to hear of it.
  answer=$(awk -v a="$(said_at stopping)" -v b="$(said_at stopped)" 'BEGIN { printf "%.1f", b - a }')
  awk -v a="$answer" 'BEGIN { exit !(a < 15) }' || wrong "stopped after $answer s, the grace is 15 s"
  until_true "the pod is gone" pod_gone "$old"
  until_true "ready" is_ready
  echo "a request that was half there at SIGTERM: 200, on the medium; stopped by itself after $answer s of 15"
}
said_at() { date -d "$(sed -n "s/.*\"timestamp\":\"\([^\"]*\)\".*\"message\":\"$1\".*/\1/p" "$work/last-words")" +%s.%N; }
chunk() { printf '%x\r\n%s\r\n' ${#1} "$1" >&4; }
pod_gone() { ! kube get pod "$1" >/dev/null 2>&1; }

check_node_drain() {
  local old
  old=$(name_of_pod)
  kube drain $node --ignore-daemonsets --timeout=${patience}s >"$work/drain" 2>&1 || wrong "$(tail -n 2 "$work/drain")"
  pod_gone "$old" || wrong "still there"
  not_scheduled || until_true "the next one waits" not_scheduled
  kube uncordon $node >/dev/null
  until_true "ready" is_ready
  echo "kubectl drain evicts the only pod past its budget; it is back after uncordon"
}
not_scheduled() { [ "$(pod '.status.conditions[?(@.type=="PodScheduled")].status')" = False ]; }

check_reboot() {
  local seen last began
  until_true "in service" in_service
  start_load
  until_true "more answers" enough_answers
  last=$(tail -n 1 "$work/load")
  power_cut
  boot_machine
  umount "$volumes"
  mount_disk
  began=$(now)
  start_node
  until_true "the container runs again" restarted 1
  until_true "ready" is_ready
  until_true "in service" in_service
  seen=$(get '8000/predictions?limit=1' | id_of)
  [ "$seen" -ge "$(field last_id "$last")" ] || wrong "record $(field last_id "$last") was acknowledged, the newest is $seen"
  [ "$(predict '?durable=true' | id_of)" = $((seen + 1)) ] || wrong "numbers do not go on"
  verify >/dev/null || wrong "the log: $(verify)"
  echo "every process killed: the same pod is ready $(since "$began") s after boot, all $(field last_id "$last") acknowledged records there, numbers go on"
}
enough_answers() { [ "$(wc -l <"$work/load")" -ge 3 ]; }

check_foreign_volume() {
  kube scale deployment/picket --replicas=0 >/dev/null
  until_true "no pod is left" no_pod
  chown -R root:root "$state"
  chmod -R go-rwx "$state"
  kube scale deployment/picket --replicas=1 >/dev/null
  until_true "an end of the container" ended 0
  local answer
  until_true "its last words" ended_with 'cannot use log directory'
  answer=$(tail -n 1 "$work/last-words")
  [[ $answer == *'Permission denied'* ]] || wrong "its last words: $answer"
  out_of_service || wrong "in service without a log"
  chown -R 65532:65532 "$state"
  until_true "ready" is_ready
  echo "a volume of root's, mode 0700: exit code $(last_exit), '$answer'; ready by itself after chown"
}

check_one_writer() {
  local first answer id
  first=$(name_of_pod)
  id=$(predict '?durable=true' | id_of)
  kube scale deployment/picket --replicas=2 >/dev/null
  until_true "a second pod" another_pod "$first"
  until_true "its end" ended 0
  until_true "its last words" ended_with 'in use by another process'
  answer=$(tail -n 1 "$work/last-words")
  local code
  code=$(last_exit)
  # The one that is not ready goes.
  kube scale deployment/picket --replicas=1 >/dev/null
  until_true "one pod" only_pod "$first"
  [ "$(predict '?durable=true' | id_of)" = $((id + 1)) ] || wrong "numbers do not go on"
  [ "$(restarts)" = 0 ] || wrong "the first one was restarted"
  echo "a second pod on the same volume: exit code $code, '$answer'; the first one's records go on"
}
# ended RESTARTS: the newest pod's container has ended more often.
ended() { [ "$(restarts)" -gt "$1" ] 2>/dev/null; }
# ended_with TEXT: the newest pod's container, the one that runs or one before; kept in last-words. The
# kubelet may take a log away while it is asked for.
ended_with() {
  { kube logs "$(name_of_pod)" || true; kube logs --previous "$(name_of_pod)" || true; } 2>/dev/null |
    grep -F "$1" >"$work/last-words"
}
only_pod() { [ "$(kube get pods -l $selector -o jsonpath='{.items[*].metadata.name}')" = "$1" ]; }
last_exit() { pod '.status.containerStatuses[0].lastState.terminated.exitCode'; }

check_token() {
  # The labels of the pod that the last check left are the same: its Service and its volume stay.
  "$kubectl" create secret generic picket-token --from-literal=token=a-token-of-the-rig-of-36-characters- \
    --dry-run=client -o yaml | kube apply -f - >/dev/null
  local old without with
  old=$(name_of_pod)
  render token | kube apply -f - >/dev/null
  until_true "another pod" another_pod "$old"
  until_true "ready" is_ready
  without=$(status_of 8000/stats)
  with=$(curl -s -o /dev/null --max-time 5 -w '%{http_code}' \
    -H 'Authorization: Bearer a-token-of-the-rig-of-36-characters-' "http://$(pod .status.podIP):8000/stats")
  [ "$without $with" = '401 200' ] || wrong "$without without the token, $with with it"
  # Taken away again, the volume still remembers it.
  old=$(name_of_pod)
  render single-node | kube apply -f - >/dev/null
  until_true "another pod" another_pod "$old"
  until_true "its last words" ended_with 'no token is configured, and one was before'
  echo "component token: 401 without the Secret's token, 200 with it; without the component the pod ends with $(last_exit) and says why"
}

check_fleet() {
  kube delete --wait deployment/picket >/dev/null
  until_true "no pod is left" no_pod
  kube delete --wait persistentvolumeclaim/picket-state persistentvolume/pvc-of-the-rig >/dev/null
  # As docs/k3s.md has it done on each node, except that root owns it.
  install -d -m 755 "$fleet"
  render fleet | kube apply -f - >/dev/null
  until_true "a DaemonSet that wants no pod yet" daemons 0
  kube label --overwrite node $node picket=edge >/dev/null
  until_true "a pod that is ready" is_ready
  until_true "in service" in_service
  local id old
  id=$(predict '?durable=true' | id_of)
  [[ $(get '8000/predictions?limit=1') == *"\"edge_device_id\":\"$node\""* ]] || wrong "the record names another box"
  old=$(name_of_pod)
  kube rollout restart daemonset/picket >/dev/null
  until_true "another pod" another_pod "$old"
  kube rollout status daemonset/picket --timeout=${patience}s >/dev/null || wrong "never rolled out"
  [ "$(predict '?durable=true' | id_of)" = $((id + 1)) ] || wrong "numbers do not go on"
  kube label node $node picket- >/dev/null
  until_true "no pod without the label" no_pod
  echo "a pod where the label picket=edge is, none elsewhere; its own directory ($(stat -c '%U:%g %a' "$fleet") by fsGroup), records go on after a rollout"
}
daemons() { [ "$(kube get daemonset picket -o jsonpath='{.status.desiredNumberScheduled}')" = "$1" ]; }
