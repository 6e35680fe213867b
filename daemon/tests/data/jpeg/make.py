#!/usr/bin/env python3
"""Makes the JPEG files of every kind of sampling, coding and size, and what they decode to.

    apt-get install libjpeg-turbo-progs
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pillow numpy
    /tmp/venv/bin/python daemon/tests/data/jpeg/make.py

cjpeg and jpegtran of libjpeg-turbo 2.1.5 encode, libjpeg-turbo 3.2.0 in Pillow 13.0.0 decodes. A line of
pixels.txt is a file, what its size is divided by, width and height, and the CRC-32 of the pixels that
Pillow decodes it to at that size (RGB, or one byte a pixel where it is grey). No random numbers are used.
"""

import subprocess
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
WIDTH, HEIGHT = 61, 43

# Name, size, arguments of cjpeg, arguments of jpegtran if what cjpeg made is coded anew.
FILES = [
    ("444", (WIDTH, HEIGHT), "-quality 80 -sample 1x1", None),
    ("422", (WIDTH, HEIGHT), "-quality 80 -sample 2x1", None),
    ("440", (WIDTH, HEIGHT), "-quality 80 -sample 1x2", None),
    ("420", (WIDTH, HEIGHT), "-quality 80 -sample 2x2", None),
    ("411", (WIDTH, HEIGHT), "-quality 80 -sample 4x1", None),
    ("410", (WIDTH, HEIGHT), "-quality 80 -sample 4x2", None),
    ("three", (WIDTH, HEIGHT), "-quality 80 -sample 3x2", None),
    ("mixed", (WIDTH, HEIGHT), "-quality 80 -sample 2x2,2x1,1x2", None),
    ("finer_chroma", (WIDTH, HEIGHT), "-quality 80 -sample 1x1,2x2,1x1", None),
    ("coarse", (WIDTH, HEIGHT), "-quality 3 -sample 2x2", None),
    ("fine", (WIDTH, HEIGHT), "-quality 100 -sample 2x2", None),
    ("narrow", (3, HEIGHT), "-quality 80 -sample 2x2", None),
    ("narrow_smooth", (5, HEIGHT), "-quality 80 -sample 2x2", None),
    ("flat", (WIDTH, 1), "-quality 80 -sample 2x2", None),
    ("dot", (1, 1), "-quality 80 -sample 2x2", None),
    ("whole_mcus", (64, 48), "-quality 80 -sample 2x2", None),
    ("grey", (WIDTH, HEIGHT), "-quality 80 -grayscale", None),
    ("restarts", (WIDTH, HEIGHT), "-quality 80 -sample 2x2 -restart 3B", None),
    ("optimised", (WIDTH, HEIGHT), "-quality 80 -sample 2x1 -optimize", None),
    ("progressive_420", (WIDTH, HEIGHT), "-quality 80 -sample 2x2 -progressive", None),
    ("progressive_422", (WIDTH, HEIGHT), "-quality 80 -sample 2x1 -progressive -restart 5B", None),
    ("progressive_grey", (WIDTH, HEIGHT), "-quality 80 -grayscale -progressive", None),
    ("scans", (WIDTH, HEIGHT), "-quality 80 -sample 2x2", "-restart 5B -scans /dev/stdin"),
]


def picture(width, height):
    """A slope, a disc, stripes and something like noise."""
    y, x = np.mgrid[0:height, 0:width]
    disc = ((x - 20) ** 2 + (y - 18) ** 2 < 150)[..., None] * [90, -60, 40]
    stripes = ((x // 3 + y // 5) % 2 * (x > 34))[..., None] * [-50, 70, 30]
    hashed = ((x * 7919 + y * 104_729) ^ (x * y * 31)) % 23
    slope = np.stack([40 + 3 * x, 200 - 2 * y, 90 + x + y], axis=-1)
    return np.clip(slope + disc + stripes + hashed[..., None], 0, 255).astype(np.uint8)


lines = []
for name, (width, height), arguments, again in FILES:
    ppm = b"P6 %d %d 255\n" % (width, height) + picture(width, height).tobytes()
    encode = ["cjpeg", *arguments.split()]
    body = subprocess.run(encode, input=ppm, capture_output=True, check=True).stdout
    path = HERE / f"{name}.jpg"
    path.write_bytes(body)
    if again:
        encode = ["jpegtran", *again.split(), path]
        result = subprocess.run(encode, input=b"0; 1; 2;", capture_output=True, check=True)
        path.write_bytes(result.stdout)
    for reduction in (1, 2, 4, 8):
        image = Image.open(path)
        wanted = (-(-width // reduction), -(-height // reduction))
        if reduction > 1:
            image.draft(image.mode, (max(1, width // reduction), max(1, height // reduction)))
        if image.size != wanted or (reduction > 1 and min(width, height) < 8):
            continue
        crc = zlib.crc32(np.asarray(image).tobytes())
        lines.append(f"{name}.jpg {reduction} {wanted[0]} {wanted[1]} {crc:08x}\n")
(HERE / "pixels.txt").write_text("".join(lines))
