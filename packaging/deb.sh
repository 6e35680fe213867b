#!/usr/bin/env bash
# Packs a binary of the device flavour as Debian package, by dpkg-deb alone.
#
#   deb.sh ARCH BINARY [--version=VERSION] [--out=DIR]
#
# ARCH is Debian's name. Prints the package's path.
set -euo pipefail
# The bytes depend on the commit alone, not on who packs it and where.
umask 022
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$here")

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$project/Cargo.toml")-1
out=$project/target/deb
arguments=()
for argument in "$@"; do
  case $argument in
    --version=*) version=${argument#*=} ;;
    --out=*) out=${argument#*=} ;;
    -*) echo "deb: there is no option $argument" >&2; exit 64 ;;
    *) arguments+=("$argument") ;;
  esac
done
arch=${arguments[0]:?deb: for which architecture?}
binary=${arguments[1]:?deb: which binary?}

commit=${PICKET_COMMIT:-$(git -C "$project" rev-parse --short=12 HEAD)}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$project" log -1 --format=%ct)}
date=$(date -u -R -d "@$SOURCE_DATE_EPOCH")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/picket
doc=$root/usr/share/doc/picket

# fill FILE: to standard output, with what is only known now.
fill() {
  sed -e "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/${size:-}/; s/@GLIBC@/${glibc:-}/" \
    -e "s/@COMMIT@/$commit/; s/@DATE@/$date/" "$1"
}

# The newest of the C library's symbols that it wants; packed relocations came with 2.36.
symbols=$(readelf --wide --dyn-syms --version-info --dynamic "$binary")
glibc=$(grep -o 'GLIBC_2[0-9.]*' <<<"$symbols" | cut -d_ -f2 | sort -V | tail -n 1)
! grep -q 'RELR' <<<"$symbols" || glibc=$(printf '2.36\n%s\n' "$glibc" | sort -V | tail -n 1)
[ -n "$glibc" ] || { echo "deb: $binary is not linked against a C library: the device flavour is needed" >&2; exit 65; }
grep -q 'NEEDED.*libsystemd.so.0' <<<"$symbols" ||
  { echo "deb: $binary does not write to the journal: the device flavour is needed" >&2; exit 65; }

install -D -m 755 "$binary" "$root/usr/bin/picket"
install -D -m 644 -t "$root/usr/lib/systemd/system" "$project"/systemd/picket.service "$project"/systemd/*.socket
install -D -m 644 "$project/systemd/sysusers.d/picket.conf" "$root/usr/lib/sysusers.d/picket.conf"
install -D -m 644 "$project/systemd/tmpfiles.d/picket.conf" "$root/usr/lib/tmpfiles.d/picket.conf"
install -D -m 644 "$project/systemd/picket.toml" "$root/etc/picket/picket.toml"
# Not in effect: it must not be on systemd before 254, which Debian 12 has.
install -D -m 644 -t "$doc/examples" "$project/systemd/picket.service.d/10-systemd-254.conf"
"$here/docs.sh" "$doc"
install -D -m 644 <(sed -n '/^Permission is hereby/,/^----/p' "$project/LICENSE" |
  sed '/^----/d; s/^$/./; s/^/ /' | sed -e '/@MIT@/{r /dev/stdin' -e 'd}' "$here/debian/copyright") "$doc/copyright"
fill "$here/debian/changelog" | gzip -9n >"$doc/changelog.Debian.gz"
chmod 644 "$doc/changelog.Debian.gz"
install -D -m 644 "$here/debian/lintian-overrides" "$root/usr/share/lintian/overrides/picket"
"$here/manual.sh" "$root/usr/share"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
# Debian's name for what zsh itself calls site-functions.
mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"

# As dpkg-gencontrol counts: the same on every file system.
size=$(find "$root" -printf '%y %s\n' | awk '{ n += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print n }')
mkdir "$root/DEBIAN"
fill "$here/debian/control" >"$root/DEBIAN/control"
install -m 644 "$here/debian/conffiles" "$root/DEBIAN/conffiles"
install -m 755 "$here"/debian/{postinst,prerm,postrm} "$root/DEBIAN"
(cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | sort -z | xargs -0 md5sum) \
  >"$root/DEBIAN/md5sums"
find "$root" -type d -exec chmod 755 {} +
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$out"
package=$out/picket_${version}_$arch.deb
# xz cuts its blocks by the number of cores that it has.
DPKG_DEB_THREADS_MAX=1 dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
