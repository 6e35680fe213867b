#!/usr/bin/env python3
"""Cycles that llvm-mca gives ARM cores for the inner loop of the kernel `neon`, found in a binary.

    mca.py ARM      picket-kernels-bench for aarch64

A pass of the loop multiplies 256 pairs of bytes. llvm-mca's model of a Cortex-A53 runs in order, counts
no second instruction a cycle and lets none finish before an earlier one; the least number of cycles is
what the busiest unit needs."""

import re
import subprocess
import sys

PASSES = 200
# What a pass of the loop holds, and the most instructions that it may have.
PRODUCTS = {"smull": 16, "smlal2": 16, "sadalp": 16}
LENGTH_MAX = 100


def loop(binary: str) -> list[str]:
    """The instructions of the loop, its branch last."""
    listing = subprocess.run(
        ["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", binary], capture_output=True, text=True, check=True
    ).stdout
    lines = re.findall(r"^ *([0-9a-f]+):\t(.*?)(?:\s*//.*)?$", listing, re.MULTILINE)
    places = {address: place for place, (address, _) in enumerate(lines)}
    for place, (_, text) in enumerate(lines):
        branch = re.match(r"b\.ne\t(?:0x)?([0-9a-f]+)", text)
        first = places.get(branch[1]) if branch else None
        if first is None or not 0 < place - first < LENGTH_MAX:
            continue
        body = [text for _, text in lines[first:place]]
        names = [text.split("\t")[0] for text in body]
        # The loop that is written by hand prepares its step before the first product.
        if all(names.count(name) == count for name, count in PRODUCTS.items()) and "csel" in names:
            return body
    sys.exit(f"mca: {binary} has no such loop")


def main() -> None:
    text = "\n".join(["loop:", *loop(sys.argv[1]), "b.ne loop", ""])
    for core in ["cortex-a53", "cortex-a72"]:
        command = ["llvm-mca", "-mtriple=aarch64", f"-mcpu={core}", f"-iterations={PASSES}"]
        told = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
        cycles = int(re.search(r"Total Cycles: +(\d+)", told)[1]) / PASSES
        least = float(re.search(r"Block RThroughput: +([\d.]+)", told)[1])
        print(f"neon      {core:<12}  256 products: {cycles:.1f} cycles, at least {least:.0f}")


if __name__ == "__main__":
    main()
