"""Compares two outputs of `picket predict --json` for the same files, line by line."""

import json
import sys

# Integers are exact on every machine; what differs is the order in which the last layer's floats are
# added and the exponential of the softmax.
TOLERANCE = 1e-5


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main():
    expected, found = map(read, sys.argv[1:])
    if not expected or len(expected) != len(found):
        sys.exit(f"{len(found)} predictions, {len(expected)} expected")
    largest = 0.0
    for there, here in zip(found, expected):
        for key in ("file", "class", "label", "defect", "uncertain", "model"):
            if there[key] != here[key]:
                sys.exit(f"{here['file']}: {key} is {there[key]}, expected {here[key]}")
        pairs = zip(there["probabilities"], here["probabilities"])
        largest = max(largest, *(abs(a - b) for a, b in pairs))
    if largest > TOLERANCE:
        sys.exit(f"a probability differs by {largest:.2g}, at most {TOLERANCE:.2g} is accepted")
    print(f"{len(found)} pictures, the same classes, probabilities within {largest:.2g}")


main()
