# Runs steps one after the other and tells at the end what each took. Sourced by .ci/run and ./dev nightly.
# shellcheck shell=bash

# A step ends with this where it needs something from outside that can't be had now (EX_UNAVAILABLE). It
# is left out then, and named at the end.
unavailable=69
# The first step that fails ends the run. With `yes` the others still run, and the run fails at its end.
keep_going=${keep_going:-}

steps_logs=$(mktemp -d)
steps_table=()
steps_left_out=()
steps_failed=()
steps_beside=()
steps_ending=
trap steps_end EXIT

# step NAME COMMAND…
step() {
  local name=$1 began=$SECONDS code=0
  shift
  printf '\n==> %s: %s\n' "$name" "$*"
  "$@" 2>&1 | tee "$steps_logs/$name" || code=$?
  steps_result "$name" $((SECONDS - began)) "$code"
}

# beside NAME COMMAND…: a step that runs while the next one does, for two that wait more than they
# compute. `together` waits for it and shows what it said.
beside() {
  local name=$1
  shift
  printf '\n==> %s, beside what follows: %s\n' "$name" "$*"
  (
    trap 'echo $((SECONDS - began)) >"$steps_logs/.$name"' EXIT
    began=$SECONDS
    "$@" >"$steps_logs/$name" 2>&1
  ) &
  steps_beside+=("$name=$!")
}

together() {
  local each name code
  for each in "${steps_beside[@]}"; do
    name=${each%%=*} code=0
    wait "${each#*=}" || code=$?
    printf '\n==> %s, which ran beside\n' "$name"
    cat "$steps_logs/$name"
    steps_result "$name" "$(cat "$steps_logs/.$name")" "$code"
  done
  steps_beside=()
}

# steps_result NAME SECONDS STATUS
steps_result() {
  local result=ok
  case $3 in
    0) ;;
    "$unavailable") result='left out' && steps_left_out+=("$1") ;;
    *) result="failed with $3" && steps_failed+=("$1") ;;
  esac
  steps_table+=("$(printf '%-14s %5s s  %s' "$1" "$2" "$result")")
  [ "$result" != "failed with $3" ] || [ -n "$keep_going" ] || [ -n "$steps_ending" ] || exit "$3"
}

# leave_out NAME WHY
leave_out() {
  steps_table+=("$(printf '%-14s %5s s  left out: %s' "$1" 0 "$2")")
  steps_left_out+=("$1")
}

# The closing lines of the test runners: of cargo test added up, of nextest as they are.
steps_tests() {
  local log
  for log in "$steps_logs"/*; do
    awk -v step="${log##*/}" '/^test result:/ { passed += $4; failed += $6; ignored += $8; seen = 1 }
      END { if (seen) printf "%s: %d passed, %d failed, %d skipped\n", step, passed, failed, ignored }' "$log"
  done
  cat "$steps_logs"/* | grep '^ *Summary \[' || true
}

steps_end() {
  local code=$?
  set +e
  trap - EXIT
  # A step that failed leaves none behind that ran beside it.
  steps_ending=yes
  together
  printf '\n==> what each step took\n'
  printf '%s\n' "${steps_table[@]}"
  printf '%-14s %5s s, %s minutes\n' all $SECONDS $(((SECONDS + 59) / 60))
  [ ${#steps_table[@]} = 0 ] || steps_tests
  rm -rf "$steps_logs"
  [ ${#steps_left_out[@]} = 0 ] || printf 'left out: %s\n' "${steps_left_out[*]}"
  [ $code != 0 ] || [ ${#steps_failed[@]} = 0 ] || code=1
  if [ ${#steps_failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${steps_failed[*]}"
  elif [ $code = 0 ]; then
    echo 'all of it held'
  fi
  exit $code
}
