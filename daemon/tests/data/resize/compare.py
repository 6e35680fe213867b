#!/usr/bin/env python3
"""Compares the daemon's resize with Pillow's and OpenCV's on random pictures of random sizes.

    cargo build --release -p picket-picture --example resize
    /tmp/venv/bin/python daemon/tests/data/resize/compare.py [COUNT]

Prints the largest difference of each mode, filter and library, in steps of 255, and fails above 1. The
area average is compared where both sides shrink: OpenCV enlarges otherwise.
"""

import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from trainer import FILTERS, MODES, prepared

BINARY = Path(__file__).parents[4] / "target/release/examples/resize"
random = np.random.default_rng(2026)


def picture():
    height, width = random.integers(1, 300, 2)
    kind = random.integers(3)
    if kind == 0:
        return random.integers(0, 256, (height, width, 3), np.uint8)
    if kind == 1:  # black and white blocks: the filters overshoot
        blocks = random.integers(0, 2, (height // 5 + 1, width // 5 + 1, 3), np.uint8) * 255
        return np.ascontiguousarray(blocks.repeat(5, 0).repeat(5, 1)[:height, :width])
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / a + y / b) * 127 + 128 for a, b in random.uniform(1, 30, (3, 2))]
    return np.clip(np.stack(waves, -1), 0, 255).astype(np.uint8)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    worst, cases, unequal = defaultdict(int), defaultdict(int), defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for mode in MODES:
            for filter in FILTERS if mode != "crop-only" else ["area", "bicubic"]:
                for antialias in [True, False] if filter != "area" else [True]:
                    for _ in range(count):
                        height, width = (int(side) for side in random.integers(8, 160, 2))
                        to = int(random.integers(8, 200))
                        pad = int(random.integers(256))
                        jobs.append((height, width, mode, to, filter, antialias, pad))
        lines, pictures = [], []
        for number, job in enumerate(jobs):
            pixels = picture()
            # torchvision's side can be beyond what Pillow and OpenCV hold.
            while job[2] == "shorter-side" and max(pixels.shape[:2]) > 20 * min(pixels.shape[:2]):
                pixels = picture()
            path = f"{folder}/{number}.png"
            Image.fromarray(pixels).save(path, compress_level=1)
            pictures.append(pixels)
            lines.append(" ".join([path, *map(str, job)]).lower())
        subprocess.run([BINARY], input="\n".join(lines), text=True, check=True)
        for number, (pixels, job) in enumerate(zip(pictures, jobs)):
            height, width, mode, _, filter, antialias, _ = job
            expected = prepared(pixels, *job)
            found = np.fromfile(f"{folder}/{number}.png.out", np.uint8).reshape(expected.shape)
            if filter == "area" and mode != "crop-only" and not shrinks(pixels, job):
                continue
            library = "OpenCV" if filter == "area" or not antialias else "Pillow"
            difference = np.abs(found.astype(int) - expected)
            key = (mode, filter, library)
            if difference.max() > max(worst[key], 1):
                print("beyond 1:", key, pixels.shape, job, difference.max())
            worst[key] = max(worst[key], int(difference.max()))
            unequal[key] += (difference > 0).mean()
            cases[key] += 1
    for key, most in worst.items():
        mode, filter, library = key
        share = 100 * unequal[key] / cases[key]
        print(f"{mode:12} {filter:8} {library:6} {cases[key]:4} pictures, largest difference {most}, "
              f"{share:.3f} % of the values differ")
    sys.exit(max(worst.values()) > 1)


def shrinks(pixels, job):
    height, width, mode, to, *_ = job
    h, w = pixels.shape[:2]
    if mode == "shorter-side":
        return to <= min(h, w)
    return height <= h and width <= w


if __name__ == "__main__":
    main()
