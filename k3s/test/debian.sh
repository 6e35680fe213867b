# Debian's packages without installing them: an apt of our own, unpacked into a folder.
# shellcheck shell=bash

# unpack SUITE FOLDER PACKAGE…: unless the folder has them all already.
unpack() {
  local suite=$1 folder=$2
  shift 2
  ! cmp -s <(echo "$*") "$folder/.unpacked" || return 0
  (
    debian "$suite"
    mkdir -p "$folder"
    cd "$(mktemp -d "$folder/dl.XXXX")"
    apt-get -qq download "$@"
    for package in *.deb; do dpkg -x "$package" "$folder"; done
  )
  rm -rf "$folder"/dl.*
  echo "$*" >"$folder/.unpacked"
}

# source_of SUITE FOLDER PACKAGE: the upstream tarball of its source.
source_of() {
  (
    debian "$1"
    mkdir -p "$2"
    cd "$2"
    apt-get -qq source --download-only "$3"
    echo "$PWD/$(ls -- "$3"_*.orig.tar.*)"
  )
}

# Lists and state in the cache; packages are checked against the keys that Debian installs.
debian() {
  local suite=$1 apt=$cache/apt-$1 mirror
  mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
  mkdir -p "$apt"/{lists/partial,archives/partial}
  printf 'deb%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
    '' "${mirror:-http://deb.debian.org/debian}" "$suite" \
    -src "${mirror:-http://deb.debian.org/debian}" "$suite" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<APT
Dir::Etc::SourceList "$apt/sources.list"; Dir::Etc::SourceParts "-";
Dir::State "$apt"; Dir::State::Status "/dev/null"; Dir::Cache "$apt";
Acquire::Languages "none"; APT::Sandbox::User "root";
APT
  export APT_CONFIG=$apt/apt.conf
  # A day is recent enough.
  [ -n "$(find "$apt/updated" -mmin -1440 2>/dev/null)" ] || { apt-get -qq update && touch "$apt/updated"; }
}
