# INSTALL.md of the release's archive, followed to the letter in the rig's container.
# shellcheck shell=bash disable=SC2154,SC2016

# block NUMBER: the commands of that listing.
block() {
  awk -v wanted="$1" '/^```sh$/ { now = ++count; next } /^```$/ { now = 0 } now == wanted' \
    "$work/instructions/INSTALL.md"
}

# follow FOLDER NUMBER: the listing's commands, there, the first failure ending them.
follow() {
  block "$2" | grep -q . || wrong "INSTALL.md has no listing $2"
  inside bash -c 'set -e; sudo() { "$@"; }; export -f sudo; cd "$1"; eval "$2"' follow "$1" "$(block "$2")" >&2 ||
    wrong "listing $2 of INSTALL.md fails"
}

follow_instructions() {
  exec 3>&2
  local name before
  name=$(basename "$tarball" .tar.gz)
  mkdir -p "$root/opt/release" "$work/instructions"
  cp "$tarball" "$root/opt/release/"
  (cd "$root/opt/release" && sha256sum "$name.tar.gz" >SHA256SUMS)
  tar -xzf "$tarball" -C "$work/instructions" --strip-components=1
  before=$(installed)
  follow /opt/release 1
  follow "/opt/release/$name" 2
  until_true "the daemon is ready" get_ready
  [ "$(inside systemctl show -P User picket)" = picket ] || wrong "it does not run as its own user"
  echo "ok install: $(inside picket version), $(inside systemctl is-active picket.service picket.socket picket-probe.socket | tr '\n' ' ')"

  echo 'device_id = "line-4"' >"$root/etc/picket/picket.toml"
  follow "/opt/release/$name" 2
  until_true "the daemon is ready" get_ready
  grep -qx 'device_id = "line-4"' "$root/etc/picket/picket.toml" || wrong "an upgrade overwrites the configuration"
  follow "/opt/release/$name" 4
  echo "ok upgrade: the configuration stays, doctor finds no failure"

  follow "/opt/release/$name" 5
  [ -e "$root/var/lib/picket/log" ] || wrong "removing took the log"
  ! inside systemctl cat picket.service >/dev/null 2>&1 || wrong "the unit is still there"
  follow "/opt/release/$name" 6
  [ "$(installed)" = "$before" ] || wrong "left behind: $(diff <(echo "$before") <(installed))"
  echo "ok removal: nothing is left of what was installed"
}

get_ready() { [ "$(status_of "$probe" /ready)" = 200 ]; }

# Files that an installation may leave.
installed() {
  find "$root/usr" "$root/etc" "$root/var/lib" -name '*picket*' | sort
}
