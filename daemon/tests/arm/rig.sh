#!/usr/bin/env bash
# Proves that Picket on ARM answers and keeps as it does here: the golden pictures' predictions, and the
# store's files, written by one instruction set and read by the other. One line `ok NAME: what was seen`
# for each check and core.
#
#   rig.sh --here FILE --arm FILE [--qemu NAME] [CORE…]
#
# --arm is a binary for aarch64, or for what --qemu runs (qemu-arm-static, as armv7's cortex-a7, say),
# static or with QEMU_LD_PREFIX set. Needs qemu-user, curl, Python.
set -eEuo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "$here/../data/cifar10" && pwd)

native=
arm=
qemu="qemu-aarch64-static"
cores=()
while [ $# -gt 0 ]; do
  case $1 in
    --here) native=$(realpath "$2"); shift 2 ;;
    --arm) arm=$(realpath "$2"); shift 2 ;;
    --qemu) qemu=$2; shift 2 ;;
    -*) echo "rig: there is no option $1" >&2; exit 64 ;;
    *) cores+=("$1"); shift ;;
  esac
done
if [ ! -x "$native" ] || [ ! -x "$arm" ]; then
  echo "rig: --here FILE --arm FILE are needed" >&2
  exit 64
fi
[ ${#cores[@]} -gt 0 ] || cores=(cortex-a53 max)

work=$(mktemp -d)
daemon=
trap 'rm -rf "$work"' EXIT
trap 'echo "rig: line $LINENO: $BASH_COMMAND" >&2' ERR

# Longest wait for a daemon to be ready or to end, in tenths of a second: qemu takes ten times as long.
patience=600

wrong() { echo "FAILED $*" >&2; exit 1; }

# picket_of MACHINE: sets `picket` to its command, on `here` or on a core.
picket_of() {
  picket=(env -i "PATH=$PATH")
  [ -z "${QEMU_LD_PREFIX:-}" ] || picket+=("QEMU_LD_PREFIX=$QEMU_LD_PREFIX")
  case $1 in
    here) picket+=("$native") ;;
    *) picket+=("$qemu" -cpu "$1" "$arm") ;;
  esac
}

# on MACHINE ARGUMENT…
on() {
  local picket
  picket_of "$1"
  "${picket[@]}" "${@:2}"
}

ask() { curl -sS --fail-with-body --unix-socket "$work/api.sock" "$@"; }

# start MACHINE STATE
start() {
  local picket
  picket_of "$1"
  rm -f "$work"/*.sock
  "${picket[@]}" serve --state-dir "$2" --device-id rig --message-format text --api-listen "unix:$work/api.sock" \
    --probe-listen "unix:$work/probe.sock" 2>"$work/stderr" &
  daemon=$!
  for _ in $(seq $patience); do
    ! curl -sf -o /dev/null --unix-socket "$work/probe.sock" http://probe/ready 2>/dev/null || return 0
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.1
  done
  wrong "$1 is not ready: $(tail -n 3 "$work/stderr")"
}

stop() {
  kill -TERM "$daemon"
  wait "$daemon" || wrong "the daemon ended with $?: $(tail -n 3 "$work/stderr")"
  daemon=
}

# write MACHINE STATE: seven records of a prediction each, three of them strict, and a batch of two.
write() {
  local picture
  start "$1" "$2"
  for picture in airplane bird cat deer; do
    ask -o /dev/null --data-binary @"$data/$picture.png" -H 'Content-Type: image/png' http://api/predict
  done
  for picture in frog ship truck; do
    ask --data-binary @"$data/$picture.png" -H 'Content-Type: image/png' 'http://api/predict?durable=true' |
      grep -q '"durable":true' || wrong "$1: a strict record is not durable"
  done
  ask -o /dev/null -H 'Content-Type: application/json' --data @- http://api/log <<'JSON'
{"batch_size":2,"timestamp":1790000000.5,"edge_device_id":"line-4","predictions":[
 {"image_id":"a","timestamp":1790000000.25,"model_version":"7","model_name":"welds","inference_time_ms":12.5,"detections":[{"class":"crack","confidence":0.75,"bbox":[1,2,3.5,4]}],"defect_detected":true,"confidence_scores":[0.75]},
 {"image_id":"b","timestamp":1790000000.5,"model_version":"7","model_name":"welds","inference_time_ms":11.25,"detections":[],"defect_detected":false,"confidence_scores":[]}]}
JSON
  stop
}

# same_log MACHINE STATE COUNT: the store is whole and is read as `here` reads it.
same_log() {
  local machine=$1 state=$2 count=$3
  on "$machine" log verify --store "$state/log" --json >"$work/verify" || wrong "$machine: $(cat "$work/verify")"
  grep -q "\"count\":$count," "$work/verify" || wrong "$machine: $count records expected: $(cat "$work/verify")"
  on "$machine" log export --store "$state/log" --format jsonl >"$work/export"
  on here log export --store "$state/log" --format jsonl >"$work/expected"
  cmp -s "$work/export" "$work/expected" || wrong "$machine exports other records: $(diff "$work/export" "$work/expected" | head -n 4)"
}

check_predictions() {
  on here predict --json "$data"/*.png "$data"/*.jpg >"$work/expected"
  on "$1" predict --json "$data"/*.png "$data"/*.jpg >"$work/found"
  python3 "$here/compare.py" "$work/expected" "$work/found" || wrong "predictions on $1"
}

check_store_written_here() {
  write here "$work/$1.a"
  same_log "$1" "$work/$1.a" 9
  # And goes on where the other stopped: one numbering, one chain.
  write "$1" "$work/$1.a"
  same_log "$1" "$work/$1.a" 18
  echo '9 records written here, read and continued there to 18, exports equal'
}

check_store_written_there() {
  write "$1" "$work/$1.b"
  same_log here "$work/$1.b" 9
  write here "$work/$1.b"
  same_log "$1" "$work/$1.b" 18
  echo '9 records written there, read and continued here to 18, exports equal'
}

for core in "${cores[@]}"; do
  kernel=$(on "$core" model bench --json --iterations 1 | sed -n 's/.*"kernel":"\([a-z0-9]*\)".*/\1/p')
  for check in predictions store_written_here store_written_there; do
    began=$SECONDS
    # A check that fails leaves no daemon behind.
    seen=$(trap '[ -z "$daemon" ] || kill -KILL "$daemon"' EXIT && "check_$check" "$core")
    printf 'ok %s on %s (%s): %s (%s s)\n' "$check" "$core" "$kernel" "$seen" $((SECONDS - began))
  done
done
