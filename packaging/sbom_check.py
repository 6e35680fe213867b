#!/usr/bin/env python3
"""Checks bills of materials: CycloneDX's own schema, licences that SPDX knows, package URLs in canonical
form, and a graph that hangs together.

    sbom_check.py FILE…
"""

import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import get_spdx_licensing
from packageurl import PackageURL


def problems(text):
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        yield f"schema: {error}"
        return
    bom = json.loads(text)
    root = bom["metadata"]["component"]
    licensing = get_spdx_licensing()
    for part in [root, *bom["components"]]:
        for licence in part["licenses"]:
            for wrong in licensing.validate(licence["expression"]).errors:
                yield f"{part['name']}: licence: {wrong}"
        if PackageURL.from_string(part["purl"]).to_string() != part["purl"]:
            yield f"{part['name']}: {part['purl']} is not canonical"
    names = [root["bom-ref"], *(part["bom-ref"] for part in bom["components"])]
    if len(set(names)) != len(names):
        yield "a component is listed twice"
    uses = {entry["ref"]: entry["dependsOn"] for entry in bom["dependencies"]}
    reached, rest = set(), [root["bom-ref"]]
    while rest:
        name = rest.pop()
        if name not in reached:
            reached.add(name)
            rest.extend(uses.get(name, []))
    for name in set(names) ^ reached:
        yield f"{name}: in the list or among what is used, but not in both"


def main():
    failed = False
    for file in sys.argv[1:]:
        with open(file, encoding="utf-8") as opened:
            text = opened.read()
        found = list(problems(text))
        for problem in found:
            print(f"{file}: {problem}", file=sys.stderr)
        if not found:
            print(f"{file}: valid, {len(json.loads(text)['components'])} components", file=sys.stderr)
        failed = failed or bool(found)
    sys.exit(failed)


if __name__ == "__main__":
    main()
