#!/usr/bin/env python3
"""Makes the pictures that daemon/src/image's tests decode, and what they should decode to.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pillow numpy pypng simplejpeg
    apt-get install libjpeg-turbo-progs
    /tmp/venv/bin/python daemon/tests/data/make.py

The encoders are Pillow (libpng, libjpeg-turbo), pypng (what Pillow does not write: Adam7, 16-bit
colour), TurboJPEG (YCCK) and jpegtran (one scan a colour); none shares code with the daemon. The
picture has 50x38 pixels, so that neither 8 nor 32 divides a side: a red, a green, a blue and a
yellow quadrant that darken from the top left to the bottom right in 16 steps. No random numbers
are used.

NAME.rgb is the exact 32x32 area average (RGB8, row-major HWC) of the source picture, or, for
jpeg_420, of the pixels that Pillow decodes, since 4:2:0 blurs the quadrants' borders. NAME.grey is
the same with one byte a pixel.
"""

import subprocess
from pathlib import Path

import numpy as np
import png
import simplejpeg
from PIL import Image

HERE = Path(__file__).parent
WIDTH, HEIGHT, SIDE = 50, 38, 32
BACKGROUND = 121
QUADRANTS = [(230, 40, 30), (40, 200, 60), (50, 70, 220), (240, 220, 50)]
ALPHAS = [255, 128, 0, 64]

y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
quadrant = (y >= HEIGHT // 2) * 2 + (x >= WIDTH // 2)
step = (16 * (3 * x / WIDTH + 2 * y / HEIGHT) / 5).astype(int)
colours = (np.array(QUADRANTS)[quadrant] * (30 - step[..., None]) // 30).astype(np.uint8)
alpha = np.array(ALPHAS, np.uint8)[quadrant]
grey = np.asarray(Image.fromarray(colours).convert("L"))


def area_average(pixels):
    """Each cell's mean in whole numbers, rounded half up."""

    def weights(side):
        edges = np.arange(side + 1) * SIDE
        cells = np.arange(SIDE + 1) * side
        high = np.minimum(cells[1:, None], edges[None, 1:])
        return np.maximum(high - np.maximum(cells[:-1, None], edges[None, :-1]), 0)

    height, width = pixels.shape[:2]
    sums = np.einsum("iy,yxc,jx->ijc", weights(height), pixels.astype(np.int64), weights(width))
    area = width * height
    return ((sums + area // 2) // area).astype(np.uint8)


def expect(name, pixels):
    kind = "rgb" if pixels.ndim == 3 else "grey"
    average = area_average(pixels.reshape(HEIGHT, WIDTH, -1))
    (HERE / f"{name}.{kind}").write_bytes(average.tobytes())


def blended(pixels):
    a = alpha.astype(np.int64).reshape(HEIGHT, WIDTH, *[1] * (pixels.ndim - 2))
    return (2 * (pixels * a + BACKGROUND * (255 - a)) + 255) // 510


def write_png(name, pixels, **kind):
    with open(HERE / f"{name}.png", "wb") as file:
        rows = pixels.reshape(HEIGHT, -1).tolist()
        png.Writer(WIDTH, HEIGHT, compression=9, **kind).write(file, rows)


def save(name, picture, **options):
    picture.save(HERE / name, **options)


def oriented(value):
    """The picture as a camera stores it that states this Exif orientation, and the Exif data."""
    back = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
            6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    exif = Image.Exif()
    exif[0x0112] = value
    if value == 1:
        return rgb, exif
    return rgb.transpose(Image.Transpose[back[value]]), exif


rgb = Image.fromarray(colours)
rgba = np.dstack([colours, alpha])
grey_alpha = np.dstack([grey, alpha])
expect("colours", colours)
expect("alpha", blended(rgba[..., :3].astype(np.int64)))
expect("grey", grey)
expect("grey_alpha", blended(grey.astype(np.int64)))

save("rgb8.png", rgb)
save("rgba8.png", Image.fromarray(rgba))
save("grey8.png", Image.fromarray(grey))
save("grey_alpha8.png", Image.fromarray(grey_alpha))
# The two bytes of a sample differ, but it still rounds to the same 8 bits.
save("grey16.png", Image.fromarray(grey.astype(np.uint16) * 257 + 60))
write_png("rgb16", colours.astype(int) * 257 + 60, greyscale=False, bitdepth=16)
write_png("rgba16", rgba.astype(int) * 257, greyscale=False, alpha=True, bitdepth=16)
write_png("grey_alpha16", grey_alpha.astype(int) * 257, greyscale=True, alpha=True, bitdepth=16)
write_png("interlaced", colours, greyscale=False, bitdepth=8, interlace=True)
write_png("interlaced_grey4", grey >> 4, greyscale=True, bitdepth=4, interlace=True)
for bits in (1, 2, 4):
    levels = grey >> (8 - bits)
    write_png(f"grey{bits}", levels, greyscale=True, bitdepth=bits)
    expect(f"grey{bits}", levels * (255 // (2**bits - 1)))

opaque, index = np.unique(colours.reshape(-1, 3), axis=0, return_inverse=True)
write_png("palette", index, palette=opaque.tolist(), bitdepth=8)
clear, index = np.unique(rgba.reshape(-1, 4), axis=0, return_inverse=True)
write_png("palette_alpha", index, palette=clear.tolist(), bitdepth=8)
write_png("palette2", quadrant, palette=QUADRANTS, bitdepth=2)

picture, exif = oriented(6)
save("oriented.png", picture, exif=exif)
frames = [Image.fromarray(255 - colours), Image.fromarray(colours[::-1])]
save("animated.png", rgb, save_all=True, default_image=True, append_images=frames)

for value in range(1, 9):
    picture, exif = oriented(value)
    save(f"orientation{value}.jpg", picture, quality=97, subsampling=0, exif=exif, optimize=True)
save("444.jpg", rgb, quality=97, subsampling=0)
save("420.jpg", rgb, quality=97, subsampling=2)
expect("jpeg_420", np.asarray(Image.open(HERE / "420.jpg")))
save("progressive.jpg", rgb, quality=97, subsampling=0, progressive=True)
save("restart.jpg", rgb, quality=97, subsampling=2, restart_marker_rows=1)
scans = {"args": ["jpegtran", "-scans", "/dev/stdin", HERE / "444.jpg"], "input": b"0; 1; 2;"}
(HERE / "scans.jpg").write_bytes(subprocess.run(**scans, capture_output=True, check=True).stdout)
save("rgb.jpg", rgb, quality=97, keep_rgb=True)
save("grey.jpg", Image.fromarray(grey), quality=97)

# Black is taken out of the inks, so that the fourth ink counts. Pillow inverts what it writes, as
# Adobe does; TurboJPEG writes what it is given.
ink = 255 - colours.astype(int)
black = ink.min(axis=2) // 2
inks = np.dstack([(ink - black[..., None]) * 255 // (255 - black[..., None]), black])
inks = inks.astype(np.uint8)
save("cmyk.jpg", Image.fromarray(inks, "CMYK"), quality=97, subsampling=0)
ycck = np.ascontiguousarray(255 - inks)
ycck = simplejpeg.encode_jpeg(ycck, quality=97, colorspace="CMYK", colorsubsampling="444")
(HERE / "ycck.jpg").write_bytes(ycck)
