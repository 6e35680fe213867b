#!/usr/bin/env python3
"""Makes the BMP, TIFF and PNM files in formats/, which daemon/crates/picture's tests decode.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install pillow numpy tifffile opencv-python-headless
    /tmp/venv/bin/python daemon/tests/data/formats.py

The encoders are Pillow (its own BMP and PNM, libtiff), tifffile (tiles, planes, big-endian) and OpenCV;
none shares code with the daemon. What none of them writes (BMP of 16 bits, with masks, from the top;
plain PNM; samples with a maxval) is put together here from the formats' descriptions. The picture is
make.py's, 50x38 pixels; NAME.X shows what make.py's colours.rgb or grey.grey holds, exactly, unless the
tests state a tolerance. No random numbers are used.
"""

import struct
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

HERE = Path(__file__).parent / "formats"
WIDTH, HEIGHT = 50, 38
QUADRANTS = [(230, 40, 30), (40, 200, 60), (50, 70, 220), (240, 220, 50)]
ALPHAS = [255, 128, 0, 64]

y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
quadrant = (y >= HEIGHT // 2) * 2 + (x >= WIDTH // 2)
step = (16 * (3 * x / WIDTH + 2 * y / HEIGHT) / 5).astype(int)
colours = (np.array(QUADRANTS)[quadrant] * (30 - step[..., None]) // 30).astype(np.uint8)
alpha = np.array(ALPHAS, np.uint8)[quadrant]
grey = np.asarray(Image.fromarray(colours).convert("L"))
rgba = np.dstack([colours, alpha])
wide = {"rgb": colours.astype(np.uint16) * 257, "grey": grey.astype(np.uint16) * 257}


def bmp(name, bits, rows, extra=b"", compression=0, top_down=False, header=40, used=0):
    """rows: the bytes of each row from the top, not filled up; extra: masks or palette."""
    rows = [row + bytes(-len(row) % 4) for row in rows]
    data = b"".join(rows if top_down else reversed(rows))
    height = -HEIGHT if top_down else HEIGHT
    info = struct.pack("<IiiHHIIiiII", header, WIDTH, height, 1, bits, compression, len(data), 0, 0, used, 0)
    at = 14 + len(info) + len(extra)
    (HERE / name).write_bytes(struct.pack("<2sIHHI", b"BM", at + len(data), 0, 0, at) + info + extra + data)


def bitmaps():
    Image.fromarray(colours).save(HERE / "rgb24.bmp")
    Image.fromarray(grey).save(HERE / "grey8.bmp")
    Image.fromarray(colours).quantize(256, dither=Image.Dither.NONE).save(HERE / "palette8.bmp")
    Image.fromarray(colours).convert("RGBA").save(HERE / "rgba32.bmp")
    Image.fromarray(np.where(grey > 127, 255, 0).astype(np.uint8)).convert("1").save(HERE / "bits1.bmp")
    cv2.imwrite(str(HERE / "opencv.bmp"), colours[..., ::-1])
    bgr = np.ascontiguousarray(colours[..., ::-1])
    bmp("top_down.bmp", 24, [row.tobytes() for row in bgr], top_down=True)
    bgrx = np.dstack([bgr, np.full_like(grey, 7)])
    bmp("rgb32.bmp", 32, [row.tobytes() for row in bgrx])
    # Alpha's mask with alpha 0 everywhere, and with an alpha that counts; masks in the order of RGBA.
    masks = struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000) + bytes(52)
    clear = np.dstack([colours, np.zeros_like(grey)])
    for name, pixels in [("clear.bmp", clear), ("alpha32.bmp", rgba)]:
        bmp(name, 32, [row.tobytes() for row in pixels], masks, compression=3, header=108)
    channels = colours.astype(np.uint16)
    five = channels[..., 0] >> 3 << 10 | channels[..., 1] >> 3 << 5 | channels[..., 2] >> 3
    bmp("rgb555.bmp", 16, [row.tobytes() for row in five])
    six = channels[..., 0] >> 3 << 11 | channels[..., 1] >> 2 << 5 | channels[..., 2] >> 3
    bmp("rgb565.bmp", 16, [row.tobytes() for row in six], struct.pack("<III", 0xF800, 0x7E0, 0x1F), 3)
    # Four bits: the quadrant is the colour; and a palette of four entries alone.
    palette = b"".join(bytes([b, g, r, 0]) for r, g, b in QUADRANTS)
    nibbles = quadrant.astype(np.uint8)
    bmp("palette4.bmp", 4, [(row[::2] << 4 | row[1::2]).tobytes() for row in nibbles], palette, used=4)


def tiffs():
    for name, compression in [("none", None), ("lzw", "tiff_lzw"), ("deflate", "tiff_adobe_deflate"),
                              ("packbits", "packbits")]:
        Image.fromarray(colours).save(HERE / f"rgb8_{name}.tif", compression=compression)
        Image.fromarray(grey).save(HERE / f"grey8_{name}.tif", compression=compression)
    predict = {317: 2}
    Image.fromarray(colours).save(HERE / "predictor.tif", compression="tiff_lzw", tiffinfo=predict)
    cv2.imwrite(str(HERE / "opencv.tif"), colours[..., ::-1])
    cv2.imwrite(str(HERE / "opencv16.tif"), wide["rgb"][..., ::-1])
    Image.fromarray(wide["grey"]).save(HERE / "grey16_lzw.tif", compression="tiff_lzw")

    def write(name, pixels, **keys):
        tifffile.imwrite(HERE / name, pixels, metadata=None, software=False, **keys)

    write("strips.tif", colours, photometric="rgb", rowsperstrip=7)
    write("tiles.tif", colours, photometric="rgb", tile=(16, 32), compression="zlib")
    write("tiles16.tif", wide["rgb"], photometric="rgb", tile=(16, 16))
    write("one_tile.tif", grey, photometric="minisblack", tile=(64, 64))
    write("planes.tif", colours.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    write("plane_tiles.tif", wide["rgb"].transpose(2, 0, 1), photometric="rgb", planarconfig="separate",
          tile=(16, 16), compression="zlib", predictor=True)
    write("big_endian.tif", wide["grey"], photometric="minisblack", byteorder=">")
    write("big_endian8.tif", colours, photometric="rgb", byteorder=">", compression="zlib", predictor=True)
    write("white_is_zero.tif", 255 - grey, photometric="miniswhite")
    write("rgba.tif", rgba, photometric="rgb", extrasamples=["unassalpha"], compression="zlib")
    write("grey_alpha.tif", np.dstack([grey, alpha]), photometric="minisblack", extrasamples=["unassalpha"])
    write("pages.tif", np.stack([colours, 255 - colours]), photometric="rgb")
    # Stored lying on its side: orientation 6 is turned by 90 degrees clockwise to be seen.
    write("orientation6.tif", np.rot90(colours).copy(), photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    # What is refused.
    write("float.tif", grey.astype(np.float32), photometric="minisblack")
    write("big.tif", grey, photometric="minisblack", bigtiff=True)
    write("cmyk.tif", rgba, photometric="separated")
    Image.fromarray(colours).quantize(16).save(HERE / "palette.tif")
    Image.fromarray(grey).convert("1").save(HERE / "bits1.tif")


def anymaps():
    Image.fromarray(grey).save(HERE / "grey8.pgm")
    Image.fromarray(colours).save(HERE / "rgb8.ppm")
    cv2.imwrite(str(HERE / "opencv16.pgm"), wide["grey"])
    cv2.imwrite(str(HERE / "opencv16.ppm"), wide["rgb"][..., ::-1])

    def plain(kind, pixels):
        return f"{kind}\n# a comment\n{WIDTH} {HEIGHT}\n255\n" + " ".join(map(str, pixels.flatten())) + "\n"

    (HERE / "plain.pgm").write_text(plain("P2", grey))
    (HERE / "plain.ppm").write_text(plain("P3", colours))
    header = f"P5 #c\r\n#d\n{WIDTH}#e\n\t{HEIGHT} 1023\n".encode()
    (HERE / "ten_bits.pgm").write_bytes(header + (grey.astype(np.uint32) * 1023 // 255).astype(">u2").tobytes())
    (HERE / "hundred.pgm").write_bytes(
        f"P5 {WIDTH} {HEIGHT} 100 ".encode() + (grey.astype(np.uint32) * 100 // 255).astype(np.uint8).tobytes()
    )


HERE.mkdir(exist_ok=True)
bitmaps()
tiffs()
anymaps()
