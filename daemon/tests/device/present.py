"""Proves that an export holds every acknowledged record: `present.py ACKNOWLEDGED EXPORT`."""

import json
import sys


def main():
    with open(sys.argv[1], encoding="ascii") as lines:
        acknowledged = {int(line) for line in lines}
    with open(sys.argv[2], encoding="utf-8") as lines:
        # The last line is the end mark.
        records = [record for record in map(json.loads, lines) if "id" in record]
    numbers = [record["id"] for record in records]
    lost = sorted(acknowledged - set(numbers))
    if lost:
        sys.exit(f"{len(lost)} of {len(acknowledged)} acknowledged records are lost: {lost[:10]}")
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        sys.exit("the numbers are not contiguous")
    print(f"all {len(acknowledged)} are there, among {len(numbers)} records, {numbers[0]} to {numbers[-1]}")


main()
