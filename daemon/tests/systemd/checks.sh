# The checks of rig.sh, in the order in which they run; what runs them is daemon/tests/runner.sh.
# shellcheck shell=bash

# Watchdog period of a check at CI's size, seconds; at full size the threads are frozen under the unit's own.
watchdog_secs=6
# Longest time that a check waits for what a healthy machine does at once, seconds.
patience=60

# shellcheck source=daemon/tests/runner.sh
. "$project/daemon/tests/runner.sh"

probe=127.0.0.1:8001
api=127.0.0.1:8000

prepare() { :; }

last_words() { inside journalctl -u picket -n 15 --no-pager -o short-monotonic; }

# What a check may have left: its drop-ins, its configuration, its load.
undo() {
  inside systemctl stop picket.socket picket-probe.socket picket.service hog.service 2>/dev/null || true
  inside umount /var/lib/picket 2>/dev/null || true
  inside rm -rf /run/systemd/system/picket.service.d
  cp "$project/systemd/picket.toml" "$root/etc/picket/picket.toml"
  inside systemctl daemon-reload
  inside systemctl reset-failed 2>/dev/null || true
}

show() { inside systemctl show -P "$1" picket; }
log_of_picket() { inside journalctl --sync && inside journalctl -u picket --no-pager -o cat "$@"; }
# get ADDRESS PATH: the body, whatever the status.
get() { inside curl -s --max-time 5 "http://$1$2"; }
status_of() { inside curl -s -o /dev/null --max-time 5 -w '%{http_code}' "http://$1$2"; }
predict() { inside curl -s --max-time 10 --data-binary @/opt/cat.png -H 'Content-Type: image/png' "http://$api/predict$1"; }
# drop_in LINE…: further lines of the unit's [Service], for this check only.
drop_in() {
  inside mkdir -p /run/systemd/system/picket.service.d
  { echo '[Service]'; printf '%s\n' "$@"; } | inside tee /run/systemd/system/picket.service.d/50-check.conf >/dev/null
  inside systemctl daemon-reload
}

start() {
  inside systemctl start picket || wrong "it does not start: $(log_of_picket -n 5)"
}

# Deadlines of the heartbeats as short as they may be.
short_deadlines() {
  sed -i 's/^#\(runtime\|worker\|log\)_deadline = .*/\1_deadline = "3s"/' "$root/etc/picket/picket.toml"
  [ "$(deadline log_deadline)" = 3 ] || wrong "the deadlines are not taken"
}

# deadline KEY: seconds, as the daemon understands its configuration.
deadline() {
  local text
  text=$(inside picket config check --config /etc/picket/picket.toml | sed -n "s/^$1 = \"\(.*\)\"/\1/p")
  case $text in
    *m | *min) echo $((${text%%m*} * 60)) ;;
    *s) echo "${text%s}" ;;
    *) wrong "$1 is $text" ;;
  esac
}

check_security() {
  # The number is rounded for people; the threshold, in tenths, is compared as it is.
  inside systemd-analyze security --threshold=10 --no-pager picket.service >"$work/security" ||
    wrong "$(tail -n 1 "$work/security")"
  inside systemd-analyze verify picket.service picket.socket picket-probe.socket >"$work/verify" 2>&1 ||
    wrong "$(cat "$work/verify")"
  [ ! -s "$work/verify" ] || wrong "$(cat "$work/verify")"
  sed -n 's/.*exposure level.*: \([0-9.]*\).*/systemd-analyze security \1, verify clean/p' "$work/security"
}

check_ready() {
  local seen times=0
  for _ in 1 2 3 4 5; do
    inside systemctl restart picket || wrong "it does not start: $(log_of_picket -n 5)"
    # No second try: systemctl returns with READY=1.
    seen=$(status_of $probe /ready)
    [ "$seen" = 200 ] || wrong "READY=1 came while /ready answered $seen"
    times=$((times + 1))
  done
  seen=$(predict '?durable=true')
  case $seen in *'"label":"cat"'*'"durable":true'*) ;; *) wrong "a prediction: $seen" ;; esac
  # What the sandbox must leave visible: the machine's name and its boot.
  seen=$(get $api '/predictions?limit=1')
  case $seen in *"\"edge_device_id\":\"$(inside cat /proc/sys/kernel/hostname)\""*) ;; *) wrong "another box's record: $seen" ;; esac
  grep -qE '"boot_id":"[0-9a-f-]{36}"' <<<"$seen" || wrong "a record of no boot: $seen"
  echo "/ready answered 200 at once after each of $times starts; user $(inside ps -o user= -p "$(show MainPID)"), $(show StatusText)"
}

check_journal() {
  drop_in Environment=PICKET_MESSAGE_LEVEL=debug
  start
  local id digest entry errors
  id=$(predict '?durable=true' | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  digest=$(inside picket model inspect --json | sed -n 's/.*"digest":"\([0-9a-f]*\)".*/\1/p')
  inside journalctl --sync
  for entry in "PREDICTION_ID=$id" "MODEL_DIGEST=$digest" SUBSYSTEM=http LISTENER=api SYSLOG_IDENTIFIER=picket; do
    [ -n "$(inside journalctl -u picket -o cat --no-pager -n 1 "$entry")" ] || wrong "no entry with $entry"
  done
  entry=$(inside journalctl -u picket -o json --no-pager -n 1 "PREDICTION_ID=$id")
  grep -q '"CODE_FILE":".*/pool.rs"' <<<"$entry" || wrong "no place in the code: $entry"
  errors=$(inside journalctl -u picket -p err -o cat --no-pager "_PID=$(show MainPID)")
  [ -z "$errors" ] || wrong "errors of a healthy run: $errors"
  echo "found by PREDICTION_ID=$id, MODEL_DIGEST=${digest:0:12}…, SUBSYSTEM=http, LISTENER=api; no errors"
}

check_clock() {
  local before after
  # The kernel may not be asked in here (ProtectClock=); timesyncd's mark stands in for it.
  clock() { predict '?durable=true' >/dev/null && get $api '/predictions?limit=1' | sed -n 's/.*"clock":"\([a-z]*\)".*/\1/p'; }
  inside rm -f /run/systemd/timesync/synchronized
  start
  before=$(clock)
  inside install -D /dev/null /run/systemd/timesync/synchronized
  after=$(clock)
  [ "$before $after" = 'unsynchronised synchronised' ] || wrong "$before without timesyncd's mark, $after with it"
  echo "records are $before until timesyncd has set the clock, then $after"
}

check_sandbox() {
  start
  local pid status want
  pid=$(show MainPID)
  status=$(inside cat "/proc/$pid/status")
  for want in 'NoNewPrivs:	1' 'Seccomp:	2' 'CapEff:	0000000000000000' 'CapBnd:	0000000000000000' 'CapPrm:	0000000000000000'; do
    grep -qF "$want" <<<"$status" || wrong "not $want but $(grep "^${want%%:*}:" <<<"$status")"
  done
  # The unit with another program in it: what would an intruder be able to do?
  sed -e 's/^Type=.*/Type=oneshot/' -e '/^Restart/d' -e '/^WatchdogSec/d' -e '/^NotifyAccess/d' \
    -e "s#^ExecStart=.*#ExecStart=/usr/bin/python3 /opt/intruder.py $(binding)#" \
    -e 's#^ExecPaths=#&/usr/bin/python3 #' "$project/systemd/picket.service" \
    >"$root/run/intruder.service"
  inside mkdir -p /run/systemd/system
  cp "$here/intruder.py" "$root/opt/intruder.py"
  inside tee /run/systemd/system/intruder.service <"$root/run/intruder.service" >/dev/null
  inside systemctl daemon-reload
  # The port that it may have must be free.
  inside systemctl stop picket
  inside systemctl start intruder 2>/dev/null || true
  inside journalctl --sync
  inside journalctl -u intruder -o cat --no-pager -t python3 >"$work/intruder"
  grep -q '^finished' "$work/intruder" || wrong "the intruder did not finish: $(cat "$work/intruder")"
  ! grep '^could' "$work/intruder" >"$work/could" || wrong "$(cat "$work/could")"
  echo "$(grep -c '^refused' "$work/intruder") attempts refused, $(sed -n 's/^allowed: //p' "$work/intruder"); NoNewPrivs, no capabilities, seccomp mode 2"
}

# The kernel keeps a unit to its ports by a program that only control groups of version 2 take.
binding() {
  if inside test -e /sys/fs/cgroup/cgroup.controllers; then echo binding-is-bound; else echo binding-is-free; fi
}

check_doctor() {
  start
  local report code=0
  report=$(inside picket doctor --json --config /etc/picket/picket.toml --state-dir /var/lib/picket) || code=$?
  [ "$code" = 0 ] || wrong "exit code $code: $(grep -o '{[^{}]*"fail"[^{}]*}' <<<"$report" | head -n 3)"
  echo "no fail of $(grep -o '"status"' <<<"$report" | wc -l) checks beside the running daemon, $(grep -o '"status":"warn"' <<<"$report" | wc -l) warnings"
}

check_bad_config() {
  printf '\n[api]\nqueu = 1\n' >"$root/etc/picket/picket.toml"
  ! inside systemctl start picket 2>/dev/null || wrong 'an unknown key was taken'
  sleep 4 # twice RestartSec
  [ "$(show ExecMainStatus) $(show NRestarts) $(show ActiveState)" = '78 0 failed' ] ||
    wrong "status $(show ExecMainStatus), $(show NRestarts) restarts, $(show ActiveState)"
  tells queu inside journalctl -u picket -p err -n 3 -o cat --no-pager || wrong 'the journal does not name the key'
  echo "exit 78, not restarted; $(inside journalctl -u picket -p err -n 5 -o cat --no-pager | grep -m 1 queu | cut -c1-100)"
}

check_full_disk() {
  local restarts end seen
  inside mkdir -p /var/lib/picket
  inside mount -t tmpfs -o size=48m,mode=700 tmpfs /var/lib/picket
  inside chown picket:picket /var/lib/picket
  drop_in "WatchdogSec=$watchdog_secs"
  short_deadlines
  start
  inside sh -c 'dd if=/dev/zero of=/var/lib/picket/filler bs=64k status=none 2>/dev/null; true'
  unlogged() { case $(predict '') in *'"logged":false'*) ;; *) return 1 ;; esac; }
  until_true 'an unlogged prediction' unlogged
  end=$((SECONDS + 4 * watchdog_secs))
  while [ $SECONDS -lt $end ]; do
    seen=$(status_of $probe /health)
    [ "$seen" = 200 ] || wrong "/health answered $seen on a full disk"
    seen=$(predict '')
    case $seen in *'"label":"cat"'*) ;; *) wrong "no prediction on a full disk: $seen" ;; esac
    sleep 0.5
  done
  restarts=$(show NRestarts)
  [ "$restarts" = 0 ] || wrong "$restarts restarts"
  inside rm /var/lib/picket/filler
  logged() { case $(predict '?durable=true') in *'"durable":true'*) ;; *) return 1 ;; esac; }
  until_true 'a durable prediction once there is room' logged
  echo "$((4 * watchdog_secs)) s without room: predictions go on unlogged, /health 200, 0 restarts; logs again by itself"
}

check_contention() {
  local secs=30 end misses=0 asked=0
  [ "$size" = ci ] || secs=180
  drop_in "WatchdogSec=$watchdog_secs" CPUQuota=20%
  short_deadlines
  start
  inside systemd-run -q --unit=hog --collect /bin/sh -c \
    "for i in \$(seq $((4 * $(nproc)))); do while :; do :; done & done; wait"
  end=$((SECONDS + secs))
  while [ $SECONDS -lt $end ]; do
    asked=$((asked + 1))
    [ "$(status_of $probe /health)" = 200 ] || misses=$((misses + 1))
    predict '' >/dev/null || true
    sleep 0.3
  done
  inside systemctl stop hog
  [ "$(show NRestarts) $(show ActiveState)" = '0 active' ] || wrong "$(show NRestarts) restarts, $(show ActiveState)"
  [ "$misses" = 0 ] || wrong "/health failed $misses of $asked times"
  echo "$secs s with $((4 * $(nproc))) busy loops on $(nproc) cores and 20 % for picket: /health 200 $asked times, 0 restarts"
}

# freeze THREAD: one thread stops; the watchdog must restart the daemon within its period and 2 s, and
# the journal name the thread. The configuration is the shipped one.
freeze() {
  local thread=$1 pid began took period limit named cursor
  [ "$size" = full ] || drop_in "WatchdogSec=$watchdog_secs"
  start
  # Its heartbeats are under way.
  until_true 'a prediction' predict '' >/dev/null
  cursor=$(inside journalctl -n 0 --show-cursor -o cat | sed -n 's/^-- cursor: //p')
  pid=$(show MainPID)
  period=$(inside systemctl show -P WatchdogUSec picket)
  limit=$((${period%s} + 2))
  # A process inside has another id outside.
  "$freeze" "$(outside "$pid")" "$thread" $((limit + 30)) >"$work/frozen" &
  until_true "$thread frozen" grep -qs frozen "$work/frozen"
  began=$(now)
  killed() { [ "$(show MainPID)" != "$pid" ]; }
  while ! killed; do
    at_most "$(since "$began")" $((limit + 5)) || wrong "$thread stood still for $(since "$began") s and nothing happened"
    sleep 0.1
  done
  took=$(since "$began")
  at_most "$took" "$limit" || wrong "restarted $took s after $thread froze, at most $limit s"
  until_true 'ready again' ready_again
  wait
  inside journalctl --sync
  inside journalctl -u picket -o cat --no-pager --after-cursor "$cursor" >"$work/told"
  grep -q "Failed with result 'watchdog'" "$work/told" || wrong "not by the watchdog: $(head -n 5 "$work/told")"
  # By process, for systemd 252 leaves out the first entry after a cursor that the filter does not match.
  inside journalctl -u picket -p err -o cat --no-pager "_PID=$pid" >"$work/errors"
  named=$(grep -m 1 -F "$thread" "$work/errors") ||
    wrong "the journal does not name $thread"
  echo "$thread frozen: aborted after $took s (WatchdogSec $period + 2 s), ready again after $(since "$began") s; journal: $named"
}

ready_again() { [ "$(show ActiveState)" = active ] && [ "$(status_of $probe /ready)" = 200 ]; }

# outside PID: the same process as this machine numbers it.
outside() {
  local candidate
  for candidate in $(pgrep -x picket); do
    [ "$(awk '/^NSpid:/ { print $NF }' "/proc/$candidate/status")" = "$1" ] || continue
    [ "$(readlink "/proc/$candidate/ns/pid")" = "$(readlink "/proc/$init/ns/pid")" ] || continue
    echo "$candidate"
    return
  done
  wrong "process $1 is not seen from outside"
}

check_frozen_worker() { freeze worker-0; }
check_frozen_log_writer() { freeze log-writer; }
check_frozen_api() { freeze api; }

check_reload() {
  start
  local pid before refused
  pid=$(show MainPID)
  before=$(predict '' | sed -n 's/.*"uncertain":\([a-z]*\).*/\1/p')
  [ "$before" = false ] || wrong "the sample is uncertain from the start: $before"
  printf '[verdict]\nuncertain_between = [0.0, 1.0]\n' >"$root/etc/picket/picket.toml"
  inside systemctl reload picket || wrong 'systemctl reload failed'
  uncertain() { case $(predict '') in *'"uncertain":true'*) ;; *) return 1 ;; esac; }
  until_true 'the new verdict' uncertain
  inside journalctl --sync
  tells 'configuration reloaded' log_of_picket -n 20 || wrong 'the journal says nothing of it'
  printf '[api]\nlisten = "0.0.0.0:9000"\n' >"$root/etc/picket/picket.toml"
  inside systemctl reload picket || true
  inside journalctl --sync
  refused=$(log_of_picket -n 10 | grep -m 1 'api.listen') || wrong 'api.listen was not refused by name'
  [ "$(show MainPID) $(show ActiveState)" = "$pid active" ] || wrong 'it was restarted'
  echo "same process $pid; the new verdict holds; refused: $refused"
}

check_credentials() {
  local token=an-edge-boxs-own-token-of-32-bytes without with
  # As the package's postinst leaves it, before and after the one line of picket.toml.
  start
  [ "$(status_of $api /stats)" = 200 ] || wrong 'without a token the API is closed'
  inside journalctl --sync
  tells 'without a token everybody' log_of_picket -n 20 || wrong 'nothing is said of an open API'
  sed -i 's/^#\(token_file = \)/\1/' "$root/etc/picket/picket.toml"
  ! inside systemctl restart picket 2>/dev/null || wrong 'a token that is not there is taken'
  echo "$token" | inside sh -c 'umask 077; cat >/etc/picket/credentials/token'
  inside systemctl reset-failed picket
  start
  ! inside setpriv --reuid picket --regid picket --clear-groups cat /etc/picket/credentials/token >/dev/null 2>&1 ||
    wrong 'the daemon'"'"'s user may read the file itself'
  without=$(status_of $api /stats)
  with=$(inside curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $token" http://$api/stats)
  [ "$without $with" = '401 200' ] || wrong "$without without the token, $with with it"
  # The line is lost, as in a file that was written in part.
  sed -i 's/^token_file = /#&/' "$root/etc/picket/picket.toml"
  ! inside systemctl restart picket 2>/dev/null || wrong 'it starts without its token'
  [ "$(show ExecMainStatus)" = 78 ] || wrong "status $(show ExecMainStatus)"
  inside picket config forget-token --state-dir /var/lib/picket >/dev/null
  inside systemctl reset-failed picket
  start
  [ "$(status_of $api /stats)" = 200 ] || wrong 'closed after forget-token'
  inside rm /etc/picket/credentials/token
  echo "a token that root alone may read, by LoadCredential=: 401 without, 200 with it; without its line exit 78 until forget-token"
}

check_socket_restart() {
  local restarts=0 result
  inside systemctl enable --now -q picket.socket picket-probe.socket
  start
  rm -f "$work/stop"
  beside python3 "$here/load.py" $api "$root/opt/cat.png" "$work/stop" >"$work/load" &
  while [ $restarts -lt 5 ]; do
    sleep 1
    inside systemctl restart picket || wrong "it does not start: $(log_of_picket -n 5)"
    restarts=$((restarts + 1))
  done
  touch "$work/stop"
  wait
  result=$(head -n 1 "$work/load")
  inside systemctl disable -q picket.socket picket-probe.socket
  case $result in *' failed 0') ;; *) wrong "$(cat "$work/load")" ;; esac
  echo "$restarts restarts under load: $result"
}
