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
trap steps_end EXIT

# step NAME COMMAND…
step() {
  local name=$1 began=$SECONDS code=0 result=ok
  shift
  printf '\n==> %s: %s\n' "$name" "$*"
  "$@" 2>&1 | tee "$steps_logs/$name" || code=$?
  case $code in
    0) ;;
    "$unavailable") result='left out' && steps_left_out+=("$name") ;;
    *) result="failed with $code" && steps_failed+=("$name") ;;
  esac
  steps_table+=("$(printf '%-14s %5s s  %s' "$name" $((SECONDS - began)) "$result")")
  [ "$result" != "failed with $code" ] || [ -n "$keep_going" ] || exit "$code"
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
