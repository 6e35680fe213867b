# The checks of rig.sh: one life of a device, so each goes on where the one before it stopped. A check
# prints what it saw; it fails by calling `wrong`.
# shellcheck shell=bash disable=SC2154  # rig.sh sets work, here, project, api, probe

store=/var/lib/picket/log
# Strict records that must be acknowledged before the plug is pulled.
acknowledged_min=200
# A process that stands still is killed after WatchdogSec=30 and TimeoutAbortSec=5.
watchdog_patience=180
# An emulated board makes some twenty predictions a second.
footprint_predictions=2000
footprint_records=100000
# Whoever else on the board asks for a flush just before a cut takes the unflushed block along.
cuts_max=3

wrong() {
  echo "FAILED $*" >&2
  inside 'journalctl -u picket -n 30 --no-pager -o short-monotonic' >&2 || true
  exit 1
}

run_checks() {
  local check seen began all
  mapfile -t all < <(sed -n 's/^check_\([a-z_]*\)().*/\1/p' "$here/checks.sh")
  for check in "${all[@]}"; do
    began=$SECONDS
    # In this shell, not a substitution: a check may end one boot and begin another.
    "check_$check" >"$work/seen"
    while read -r seen; do
      say "ok $check: $seen"
    done <"$work/seen"
    say "   ($((SECONDS - began)) s)"
  done
  say "${#all[@]} checks, none failed"
}

show() { inside "systemctl show -P $1 picket.service"; }
get() { curl -sSf --max-time 30 "http://$1"; }
predict() { curl -sS --max-time 60 --fail-with-body --data-binary @"$project/daemon/tests/data/cifar10/$1.png" -H 'Content-Type: image/png' "http://$api/predict$2"; }
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p"; }
verify() { inside "runuser -u picket -- picket log verify --json --store $store"; }
unit_is() { [ "$(inside "systemctl is-$2 $1" 2>/dev/null)" = "$3" ] || wrong "$1 is not $3: $(inside "systemctl status --no-pager $1")"; }

# until_true SECONDS WHAT COMMAND…
until_true() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || wrong "never came: $what"
    sleep 1
  done
}

check_install() {
  inside 'dpkg -i /root/previous.deb' >"$work/dpkg" || wrong "dpkg: $(cat "$work/dpkg")"
  ! grep -i 'warning\|error' "$work/dpkg" || wrong "dpkg: $(cat "$work/dpkg")"
  # Type=notify: dpkg returned, so READY=1 came.
  unit_is picket.service active active
  for unit in picket.service picket.socket picket-probe.socket; do unit_is $unit enabled enabled; done
  unit_is picket.socket active active
  [ "$(inside 'stat -c "%U %a" /var/lib/picket /etc/picket /etc/picket/credentials' | tr '\n' ' ')" = 'picket 700 root 750 root 700 ' ] ||
    wrong "owners: $(inside 'ls -la /var/lib/picket /etc/picket')"
  echo "$(inside 'dpkg-query -W picket' | tr '\t' ' '), $(show StatusText)"
  inside 'journalctl -u picket -o cat --no-pager | grep -m 1 ready' || true
}

check_pictures() {
  local picture answer
  for picture in airplane automobile bird cat deer dog frog horse ship truck; do
    answer=$(predict $picture '') || wrong "$picture: $answer"
    [ "$(field label <<<"$answer")" = $picture ] || wrong "$picture: $answer"
  done
  echo "10 pictures, 10 right labels; of the last: $(grep -o '"timing_ms":.*}' <<<"$answer" | tr -d '}')"
  echo "$(inside 'picket model bench --json --iterations 50' | grep -o '"kernel":"[a-z0-9]*"'), memory $(( $(show MemoryCurrent) / 1048576 )) MiB of $(( $(show MemoryMax) / 1048576 ))"
}

check_configuration_by_the_administrator() {
  inside "sed -i 's/^#device_id = .*/device_id = \"line-4\"/' /etc/picket/picket.toml && systemctl restart picket" ||
    wrong 'the configuration is not taken'
  predict cat '?durable=true' >/dev/null
  inside "runuser -u picket -- picket log tail --store $store --format jsonl" >"$work/tail"
  grep -q '"line-4"' "$work/tail" || wrong "device_id is not taken: $(tail -n 1 "$work/tail")"
  echo 'device_id = "line-4" in /etc/picket/picket.toml is in the log'
}

check_plug() {
  local acknowledged last verified boots client
  : >"$work/acknowledged"
  python3 "$here/strict.py" "$api" "$project/daemon/tests/data/cifar10/cat.png" "$work/acknowledged" &
  client=$!
  until [ "$(wc -l <"$work/acknowledged")" -ge $acknowledged_min ]; do
    kill -0 $client 2>/dev/null || wrong 'the client ended early'
    sleep 0.1
  done
  pull_the_plug
  wait $client || true
  acknowledged=$(wc -l <"$work/acknowledged")
  boot
  until_true 120 'ready after the cut' get "$probe/ready"
  unit_is picket.service active active
  # The store is the daemon's: asking it goes through its control socket.
  inside "runuser -u picket -- picket log export --store $store --format jsonl" >"$work/export"
  python3 "$here/present.py" "$work/acknowledged" "$work/export" >"$work/present" || wrong "$(cat "$work/present")"
  inside 'systemctl stop picket.socket picket-probe.socket picket.service' >/dev/null
  verified=$(verify) || wrong "verify: $verified"
  inside 'systemctl start picket.socket picket-probe.socket picket.service' >/dev/null
  last=$(field last <<<"$verified")
  echo "cut after $acknowledged strict answers; $(cat "$work/present")"
  echo "picket log verify: $(cut -c1-120 <<<"$verified")"
  boots=$(inside 'journalctl --list-boots --no-pager | grep -cE "^ *-?[0-9]"')
  echo "the journal knows $boots boots; last record $last"
}

check_watchdog() {
  local before=$SECONDS restarts pid
  restarts=$(show NRestarts)
  pid=$(show MainPID)
  inside "kill -STOP $pid"
  until [ "$(show NRestarts)" -gt "$restarts" ] && [ "$(show ActiveState)" = active ]; do
    [ $((SECONDS - before)) -lt $watchdog_patience ] || wrong 'the watchdog does not restart it'
    sleep 1
  done
  inside 'journalctl -u picket -b -o cat --no-pager' | grep -E 'Watchdog timeout|Killing process|Failed with result|Scheduled restart' |
    tail -n 4 >"$work/journal"
  grep -q "Watchdog timeout (limit 30s)" "$work/journal" || wrong "the journal says nothing of the watchdog: $(cat "$work/journal")"
  echo "stopped with SIGSTOP, ready again after $((SECONDS - before)) s"
  sed 's/^/journal: /' "$work/journal"
  until_true 60 'an answer' predict cat '?durable=true'
}

check_upgrade() {
  local before after socket
  before=$(predict cat '?durable=true' | field id)
  socket=$(inside 'systemctl show -P ActiveEnterTimestampMonotonic picket.socket')
  inside 'dpkg --force-confdef --force-confold -i /root/picket.deb' >"$work/dpkg" || wrong "dpkg: $(cat "$work/dpkg")"
  unit_is picket.service active active
  after=$(predict dog '?durable=true' | field id)
  [ "$after" = $((before + 1)) ] || wrong "record $before, and after the upgrade $after"
  inside 'grep -qx "device_id = \"line-4\"" /etc/picket/picket.toml' || wrong 'the configuration is lost'
  inside 'test -e /etc/picket/picket.toml.dpkg-dist' || wrong 'the new sample is nowhere'
  [ "$(inside 'stat -c "%U %a %s" /etc/picket/credentials/token')" = 'root 600 65' ] ||
    wrong "no token was made: $(inside 'ls -la /etc/picket/credentials')"
  [ "$(inside 'systemctl show -P ActiveEnterTimestampMonotonic picket.socket')" = "$socket" ] || wrong 'the socket was closed'
  echo "$(inside 'dpkg-query -W picket' | tr '\t' ' '): record $before before, $after after; picket.socket stayed open"
  echo 'picket.toml as the administrator left it, the new sample beside it as picket.toml.dpkg-dist'
}

check_disabled_stays_disabled() {
  inside 'systemctl disable --now picket.service picket.socket picket-probe.socket && dpkg --force-confdef --force-confold -i /root/picket.deb' >"$work/dpkg" 2>&1 ||
    wrong "dpkg: $(cat "$work/dpkg")"
  [ "$(inside 'systemctl is-enabled picket.service; systemctl is-active picket.service' | tr '\n' ' ')" = 'disabled inactive ' ] ||
    wrong 'an upgrade has switched it on again'
  inside 'systemctl enable --now picket.socket picket-probe.socket picket.service' >/dev/null
  unit_is picket.service active active
  echo 'disabled by the administrator, upgraded: still disabled and stopped'
}

# What it takes of the board, before and after some work: memory as the kernel counts it, MiB.
rss() { echo "$(inside "awk '/^VmRSS:/ { print int(\$2 / 1024) }' /proc/$(show MainPID)/status") MiB"; }
start_ms() { inside 'journalctl -u picket -b -o cat --no-pager' | sed -n 's/.*ready start_ms=\([0-9]*\).*/\1/p' | tail -n 1; }

check_footprint() {
  local filled
  inside 'systemctl restart picket'
  until_true 60 'ready again' get "$probe/ready"
  echo "start to ready $(start_ms) ms, RSS $(rss); binary $(inside 'stat -Lc %s /usr/bin/picket') bytes, package $(inside 'stat -c %s /root/picket.deb')"
  filled=$(python3 "$project/daemon/tools/benches/fill.py" "$api" "$probe" --predictions $footprint_predictions --records $footprint_records) ||
    wrong "fill: $filled"
  echo "after $footprint_predictions predictions and $footprint_records records by POST /log: RSS $(rss), $filled"
  inside 'systemctl restart picket'
  until_true 60 'ready again' get "$probe/ready"
  echo "restarted with them: start to ready $(start_ms) ms, RSS $(rss)"
}

check_removal() {
  local before after
  before=$(predict cat '?durable=true' | field id)
  inside 'dpkg -r picket' >"$work/dpkg" || wrong "dpkg: $(cat "$work/dpkg")"
  [ "$(inside 'systemctl is-active picket.service; test -e /usr/bin/picket || echo gone' | tr '\n' ' ')" = 'inactive gone ' ] ||
    wrong "it is still there: $(inside 'systemctl status picket --no-pager')"
  [ "$(inside 'ls /etc/picket/picket.toml /var/lib/picket/log/journal | wc -l')" = 2 ] || wrong 'removal took configuration or log'
  inside 'dpkg -i /root/picket.deb' >"$work/dpkg" || wrong "dpkg: $(cat "$work/dpkg")"
  until_true 120 'ready after the installation' get "$probe/ready"
  after=$(predict dog '?durable=true' | field id)
  [ "$after" = $((before + 1)) ] || wrong "record $before, and after removal and installation $after"
  echo "daemon and units gone, configuration and log kept; installed again it goes on: record $before, then $after"
}

check_purge() {
  local left
  inside 'dpkg --purge picket' >"$work/dpkg" || wrong "dpkg: $(cat "$work/dpkg")"
  left=$(inside 'find / -xdev \( -name "*picket*" -o -name "10-systemd-254*" \) ! -path "/proc/*" ! -path "/sys/*" ! -path "/root/*" ! -path "/var/log/*"')
  left=$(grep -v '^/etc/hostname' <<<"$left" || true)
  [ -z "$left" ] || wrong "left behind: $left"
  [ -z "$(inside 'dpkg-query -W picket 2>/dev/null')" ] || wrong 'dpkg still knows it'
  echo "nothing left below / by that name; the user $(inside 'id -un picket') stays, as Debian's do"
}

# The rig itself: what the guest wrote past its own cache is lost by the cut when it was not flushed.
check_the_cut_takes_what_was_not_flushed() {
  local cut
  # is_blank FILE: of this cut's block.
  is_blank() {
    debugfs -R "cat /root/$1" "$work/disk.img" 2>/dev/null | tail -c +$((cut * 4096 + 1)) | head -c 4096 |
      cmp -s - <(head -c 4096 /dev/zero)
  }
  for ((cut = 0; cut < cuts_max; cut++)); do
    [ $cut = 0 ] || boot
    inside "dd if=/dev/urandom of=/root/flushed seek=$cut bs=4096 count=1 conv=notrunc,fsync oflag=direct
      sync
      dd if=/dev/urandom of=/root/unflushed seek=$cut bs=4096 count=1 conv=notrunc oflag=direct" >/dev/null
    pull_the_plug
    ! is_blank flushed || wrong 'what was flushed is lost'
    if is_blank unflushed; then
      echo "of two blocks written with O_DIRECT the one without fsync is gone, at cut $((cut + 1))"
      return
    fi
  done
  wrong 'what was not flushed is on the disk: the cut of this rig proves nothing'
}
