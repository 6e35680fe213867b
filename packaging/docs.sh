#!/usr/bin/env bash
# Installs the pages that a device needs. Their links lead only to what is shipped: a link to anything else
# becomes text that says where it is.
#
#   docs.sh FOLDER
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
docs=$(dirname "$here")/docs
folder=${1:?docs: into which folder?}

pages=(systemd configuration security api health health-reference prediction-log runbooks)
names=$(IFS='|'; echo "${pages[*]}")

# Links to shipped pages are marked with @ while the others go.
shipped() {
  sed -E \
    -e 's,\[[^]]*\]\(\.\./systemd/picket\.toml\),`/etc/picket/picket.toml`,g' \
    -e "s,\]\((($names)\.md)?(#[^)]*)?\),](@\1\3),g" \
    -e 's,\[([^]]*)\]\([a-z.][^:)]*\),\1 (in the sources),g' \
    -e 's,\]\(@,](,g' "$1"
}

mkdir -p "$folder"
for page in "${pages[@]}"; do
  shipped "$docs/$page.md" >"$folder/$page.md"
  chmod 644 "$folder/$page.md"
done

# What is left of links: web addresses, this page, and pages that are there.
left=$(grep -noE '\]\([^)]*\)' "$folder"/*.md | grep -vE "\]\((https?:[^)]*|(($names)\.md)?#[^)]*|($names)\.md)\)" || true)
[ -z "$left" ] || { printf 'docs: links that lead out of the package:\n%s\n' "$left" >&2; exit 1; }
