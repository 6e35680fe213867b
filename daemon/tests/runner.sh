# Runs the checks of a rig, each a function check_NAME of the file checks.sh beside it that prints what it
# saw and fails by calling `wrong`. The rig gives: here, work (a scratch folder), patience (longest wait
# for what a healthy machine does at once, seconds), and three functions: prepare, before a check; undo,
# after it; last_words, what helps to understand a failure.
# shellcheck shell=bash disable=SC2154

wrong() {
  printf '%s\n' "$*" >&3
  exit 1
}

# run_checks [NAME…]: all, in their order, or these. Each in a shell of its own, so that `wrong` ends no other.
run_checks() {
  local all failed=0 check seen code began
  mapfile -t all < <(sed -n 's/^check_\([a-z_]*\)().*/\1/p' "$here/checks.sh")
  [ $# -gt 0 ] && all=("$@")
  for check in "${all[@]}"; do
    began=$SECONDS
    # Not as the condition of an `if`, which would switch the subshell's -e off.
    set +e
    seen=$(
      set -eEuo pipefail
      exec 3>"$work/wrong"
      trap 'echo "line $LINENO: $BASH_COMMAND" >&3' ERR
      prepare
      "check_$check"
    )
    code=$?
    set -e
    if [ $code = 0 ]; then
      printf 'ok %s: %s (%s s)\n' "$check" "$seen" $((SECONDS - began))
    else
      failed=$((failed + 1))
      printf 'FAILED %s: %s (%s s)\n' "$check" "$(cat "$work/wrong")" $((SECONDS - began))
      { last_words 2>&1 || true; } | sed 's/^/    /'
    fi
    undo
  done
  printf '%s checks, %s failed\n' "${#all[@]}" "$failed"
  [ "$failed" = 0 ]
}

# tells TEXT COMMAND…: whether the command prints the text. A `grep -q` behind a pipe ends the command at the first
# match, and `pipefail` makes a failure of that.
tells() {
  local printed
  printed=$("${@:2}")
  [[ $printed == *"$1"* ]]
}

now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }
at_most() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }

# until_true WHAT COMMAND…: within the patience.
until_true() {
  local what=$1 end=$((SECONDS + patience))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || wrong "never came: $what"
    sleep 0.1
  done
}
