#!/usr/bin/env python3
"""Makes the pictures that picket-picture's resize is tested with: source.rgb and goldens.bin.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pillow opencv-python-headless numpy
    /tmp/venv/bin/python daemon/tests/data/resize/make.py

Made with Pillow 13.0.0, OpenCV 5.0.0 and NumPy 2.4.6. source.rgb is 37 pixels wide and 29 high, RGB8,
row-major HWC: noise on the left, black and white edges on the right, where filters overshoot. goldens.txt
has a line for each golden: `HEIGHT WIDTH MODE TO FILTER ANTIALIAS PAD`; goldens.bin holds their pixels
one after another, in the same form.
"""

from pathlib import Path

import numpy as np

from trainer import FILTERS, prepared

HERE = Path(__file__).parent
WIDTH, HEIGHT = 37, 29
# Height, width, mode, to: down, up, mixed, crops of even and odd rests, pictures smaller than the crop.
GEOMETRIES = [
    (12, 14, "stretch", 0),
    (8, 9, "stretch", 0),
    (33, 41, "stretch", 0),
    (34, 8, "stretch", 0),
    (8, 8, "shorter-side", 10),
    (11, 14, "shorter-side", 14),
    (8, 20, "shorter-side", 40),
    (15, 15, "shorter-side", 9),
    (16, 16, "letterbox", 0),
    (12, 25, "letterbox", 0),
    (41, 40, "letterbox", 0),
]
CROPS = [(18, 18), (19, 16), (29, 37), (12, 40), (34, 40)]


def source():
    random = np.random.default_rng(17)
    pixels = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    blocks = random.integers(0, 2, (5, 3, 3), np.uint8) * 255
    pixels[:, 19:] = blocks.repeat(6, 0).repeat(6, 1)[:HEIGHT]
    return pixels


def main():
    pixels = source()
    (HERE / "source.rgb").write_bytes(pixels.tobytes())
    jobs = []
    for height, width, mode, to in GEOMETRIES:
        for filter in FILTERS:
            if filter == "area" and (width > WIDTH or height > HEIGHT or to > HEIGHT):
                continue  # OpenCV's area enlarges otherwise
            for antialias in [True] if filter == "area" else [True, False]:
                jobs.append((height, width, mode, to, filter, antialias, 114))
    jobs += [(height, width, "crop-only", 0, "bicubic", True, 0) for height, width in CROPS]
    lines = [" ".join(map(str, job)).lower() for job in jobs]
    (HERE / "goldens.txt").write_text("\n".join(lines) + "\n")
    goldens = [prepared(pixels, *job).tobytes() for job in jobs]
    (HERE / "goldens.bin").write_bytes(b"".join(goldens))


if __name__ == "__main__":
    main()
