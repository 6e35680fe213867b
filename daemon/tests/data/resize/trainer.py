"""What trainers' code makes of a picture: torchvision's and Ultralytics' steps in Pillow and OpenCV.

The geometry is written out after torchvision 0.29 (Resize, CenterCrop) and Ultralytics' LetterBox; the
pixels are Pillow's and OpenCV's own.
"""

import cv2
import numpy as np
from PIL import Image

MODES = ["stretch", "shorter-side", "letterbox", "crop-only"]
FILTERS = ["area", "nearest", "bilinear", "bicubic"]
PILLOW = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
OPENCV = {
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
}


def resized(pixels, width, height, filter, antialias):
    if pixels.shape[:2] == (height, width):
        return pixels
    if antialias and filter != "area":
        return np.asarray(Image.fromarray(pixels).resize((width, height), PILLOW[filter]))
    return cv2.resize(pixels, (width, height), interpolation=OPENCV[filter])


def centre_crop(pixels, height, width, pad):
    h, w = pixels.shape[:2]
    if width > w or height > h:
        left, top = max(width - w, 0) // 2, max(height - h, 0) // 2
        right, bottom = (max(width - w, 0) + 1) // 2, (max(height - h, 0) + 1) // 2
        widths = ((top, bottom), (left, right), (0, 0))
        pixels = np.pad(pixels, widths, constant_values=pad)
        h, w = pixels.shape[:2]
    top, left = int(round((h - height) / 2.0)), int(round((w - width) / 2.0))
    return pixels[top : top + height, left : left + width]


def prepared(pixels, height, width, mode, to, filter, antialias, pad):
    h, w = pixels.shape[:2]
    if mode == "stretch":
        return resized(pixels, width, height, filter, antialias)
    if mode == "crop-only":
        return centre_crop(pixels, height, width, pad)
    if mode == "shorter-side":
        short, long = min(w, h), max(w, h)
        other = int(to * long / short)
        new_w, new_h = (to, other) if w <= h else (other, to)
        return centre_crop(resized(pixels, new_w, new_h, filter, antialias), height, width, pad)
    r = min(height / h, width / w)
    new_w, new_h = max(round(w * r), 1), max(round(h * r), 1)
    dw, dh = (width - new_w) / 2, (height - new_h) / 2
    top, bottom = round(dh - 0.1), round(dh + 0.1)
    left, right = round(dw - 0.1), round(dw + 0.1)
    inner = resized(pixels, new_w, new_h, filter, antialias)
    border = ((top, bottom), (left, right), (0, 0))
    return np.pad(inner, border, constant_values=pad)
