#!/usr/bin/env bash
# Reads generated manual pages and completions with the programs that they are for: man and mandoc
# warn of nothing, each shell parses its file, and bash and fish complete real command lines.
#
#   check.sh DIR
# shellcheck disable=SC2016  # what stands in single quotes is for the shell that is tried
set -euo pipefail
dir=$(cd "${1:?check: which folder?}" && pwd)
wrong() { echo "check: $*" >&2; exit 1; }

pages=("$dir"/man/man[15]/*)
[ -e "${pages[0]}" ] || wrong "there are no pages in $dir"
for page in "${pages[@]}"; do
  # As lintian asks.
  warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
  [ -z "$warnings" ] || wrong "man: $warnings"
  mandoc -Tlint -W warning "$page" >&2 || wrong "mandoc complains of $page"
  section=${page##*.}
  case $page in */man"$section"/*) ;; *) wrong "$page lies in another section's folder" ;; esac
  grep -q "^\.TH .* $section " "$page" || wrong "$page states another section"
done
echo "ok pages: ${#pages[@]}, no warning of man or mandoc"

bash=$dir/bash-completion/completions/picket
zsh=$dir/zsh/site-functions/_picket
fish=$dir/fish/vendor_completions.d/picket.fish
bash -n "$bash"
zsh -n "$zsh"
fish --no-execute "$fish"
echo "ok syntax: bash, zsh, fish"

# expect SHELL LINE REPLIES WORD…: each word is among the replies to a Tab at the line's end.
expect() {
  local word
  for word in "${@:4}"; do
    grep -qx -- "$word" <<<"$3" || wrong "$1 does not offer $word after '$2', but: $(tr '\n' ' ' <<<"$3")"
  done
  echo "ok $1: '$2' offers ${*:4}"
}

# in_bash LINE: what bash offers after it, by the loader that a login shell has.
in_bash() {
  XDG_DATA_DIRS=$dir bash --norc -c '
    . /usr/share/bash-completion/bash_completion
    _completion_loader picket || [ $? = 124 ]
    COMP_LINE=$1 COMP_POINT=${#1}
    read -ra COMP_WORDS <<<"$1"
    case $1 in *" ") COMP_WORDS+=("") ;; esac
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    function=$(complete -p picket | sed -n "s/.*-F \([^ ]*\).*/\1/p")
    "$function" picket "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    printf "%s\n" "${COMPREPLY[@]}"' in_bash "$1"
}

in_fish() {
  XDG_DATA_DIRS=$dir fish --no-config -c '
    source $argv[1]
    complete --do-complete $argv[2] | string replace --regex "\t.*" ""' "$fish" "$1"
}

for shell in bash fish; do
  line='picket '
  expect $shell "$line" "$("in_$shell" "$line")" serve predict log model config doctor version
  line='picket log '
  expect $shell "$line" "$("in_$shell" "$line")" tail export verify
  line='picket serve --api-max-c'
  expect $shell "$line" "$("in_$shell" "$line")" --api-max-connections --api-max-connections-per-address
  line='picket log export --format '
  expect $shell "$line" "$("in_$shell" "$line")" jsonl csv
done
