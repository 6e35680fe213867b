#!/usr/bin/env python3
"""The software bill of materials of one binary, CycloneDX 1.6, on standard output.

    sbom.py ARCH BINARY

Lists the crates whose code is linked into the device flavour for ARCH (Debian's name), as cargo's own resolver of
features has them: no build or test dependencies, no procedural macros. Checksums are those of
Cargo.lock. SOURCE_DATE_EPOCH and PICKET_COMMIT are needed; the same source gives the same bytes.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

PROJECT = Path(__file__).resolve().parent.parent
FEATURES = "journald"
TARGETS = {"amd64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}

# `1|clap v4.6.9|MIT OR Apache-2.0`; a crate of this repository has its folder behind the version, and
# one whose dependencies stand further up a star at the end.
LINE = re.compile(
    r"(?P<depth>\d+)\|(?P<name>\S+) v(?P<version>\S+)(?: \((?P<place>[^)]*)\))?\|(?P<licence>[^(]*?)(?: \(\*\))?"
)


def tree(target):
    """Lines of `cargo tree`: depth, and the crate as (name, version, folder, licence)."""
    command = ["cargo", "tree", "--locked", "--package", "picket", "--features", FEATURES,
               "--target", target, "--edges", "normal,no-proc-macro",
               "--prefix", "depth", "--format", "|{p}|{l}"]  # fmt: skip
    text = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in text.splitlines():
        found = LINE.fullmatch(line)
        if not found:
            sys.exit(f"sbom: cargo tree says {line!r}")
        depth, name, version, place, licence = found.groups()
        folder = os.path.relpath(place, PROJECT) if place else None
        if not licence:
            sys.exit(f"sbom: {name} {version} states no licence")
        # Old manifests write alternatives with a slash, which SPDX does not know.
        yield int(depth), (name, version, folder, re.sub(r" ?/ ?", " OR ", licence))


def purl(crate):
    name, version, folder, _ = crate
    # What lies in this repository is not the crate of that name in the registry.
    place = f"?download_url=file://{folder}" if folder else ""
    return f"pkg:cargo/{name}@{quote(version)}{place}"


def edges(lines):
    """Each crate with the crates that it uses itself."""
    uses, path = {}, []
    for depth, crate in lines:
        del path[depth:]
        if path:
            uses[path[-1]].add(crate)
        path.append(crate)
        uses.setdefault(crate, set())
    return uses


def component(crate, checksums):
    name, version, folder, licence = crate
    result = {
        "type": "library",
        "bom-ref": purl(crate),
        "name": name,
        "version": version,
        "scope": "required",
        "licenses": [{"expression": licence}],
        "purl": purl(crate),
    }
    if not folder:
        result["hashes"] = [{"alg": "SHA-256", "content": checksums[name, version]}]
    return result


def main():
    arch, binary = sys.argv[1:]
    target = TARGETS[arch]
    lock = tomllib.loads((PROJECT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}
    lines = list(tree(target))
    uses = edges(lines)
    picket = lines[0][1]
    date = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    about = component(picket, checksums)
    del about["scope"]
    about["type"] = "application"
    about["hashes"] = [{"alg": "SHA-256", "content": hashlib.sha256(Path(binary).read_bytes()).hexdigest()}]
    properties = {"commit": os.environ["PICKET_COMMIT"], "features": f"default,{FEATURES}", "target": target}
    about["properties"] = [{"name": f"picket:{k}", "value": v} for k, v in properties.items()]
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": date.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": about,
        },
        "components": [component(crate, checksums) for crate in sorted(uses, key=purl) if crate != picket],
        "dependencies": [
            {"ref": purl(crate), "dependsOn": sorted(map(purl, uses[crate]))} for crate in sorted(uses, key=purl)
        ],
    }
    # By its content: another bill gets another number, the same one the same.
    bom["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(bom, sort_keys=True)).urn
    json.dump(bom, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
