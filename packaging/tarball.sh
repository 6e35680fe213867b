#!/usr/bin/env bash
# Packs a binary of the device flavour for systems without dpkg, with INSTALL.md.
#
#   tarball.sh ARCH BINARY [--out=DIR]
#
# ARCH is Debian's name. Prints the tarball's path.
set -euo pipefail
# The bytes depend on the commit alone, not on who packs it and where.
umask 022
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$here")

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$project/Cargo.toml")
out=$project/target/tarball
arguments=()
for argument in "$@"; do
  case $argument in
    --out=*) out=${argument#*=} ;;
    -*) echo "tarball: there is no option $argument" >&2; exit 64 ;;
    *) arguments+=("$argument") ;;
  esac
done
arch=${arguments[0]:?tarball: for which architecture?}
binary=${arguments[1]:?tarball: which binary?}

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$project" log -1 --format=%ct)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=picket-$version-$arch
root=$work/$name
doc=$root/usr/share/doc/picket

install -D -m 755 "$binary" "$root/usr/bin/picket"
install -D -m 644 -t "$root/usr/lib/systemd/system" "$project"/systemd/picket.service "$project"/systemd/*.socket
install -D -m 644 "$project/systemd/sysusers.d/picket.conf" "$root/usr/lib/sysusers.d/picket.conf"
install -D -m 644 "$project/systemd/tmpfiles.d/picket.conf" "$root/usr/lib/tmpfiles.d/picket.conf"
install -D -m 644 "$project/systemd/picket.toml" "$root/etc/picket/picket.toml"
install -D -m 644 -t "$doc/examples" "$project/systemd/picket.service.d/10-systemd-254.conf"
install -D -m 644 -t "$doc" "$project/LICENSE"
"$here/docs.sh" "$doc"
"$here/manual.sh" "$root/usr/share"
sed "s/@NAME@/$name/g" "$here/INSTALL.md" >"$root/INSTALL.md"
install -m 644 "$project/LICENSE" "$root/LICENSE"

mkdir -p "$out"
tar --create --directory="$work" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \
  --mtime="@$SOURCE_DATE_EPOCH" "$name" | gzip -9n >"$out/$name.tar.gz"
echo "$out/$name.tar.gz"
