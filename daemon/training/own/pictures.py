"""A folder of pictures, a folder a class, as arrays: exactly what Picket makes of the same files.

That is: turned upright as Exif says, grey by ITU-R 601 where grey is wanted, stretched to the model's size by
Pillow's bilinear filter, which averages where it shrinks. A picture that Picket would decode otherwise, or
not at all, is left out and named.
"""
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MODES = {"grey": "L", "rgb": "RGB"}
# What Picket decodes; MPO is what phones call a JPEG with a second picture behind it.
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "TIFF", "PPM")
# Pixels of 8 bits that are neither transparent nor in a printer's colours.
PLAIN_MODES = ("1", "L", "P", "RGB")

# Fewest pictures of a class: 16 to learn it from, 4 to judge by.
CLASS_PICTURES_MIN = 20
HELD_OUT_SHARE = 0.2
# As long as a record of Picket's log holds.
LABEL_BYTES_MAX = 128


class Refused(Exception):
    """Why nothing can be trained on the folder, on one line."""


class Pictures(NamedTuple):
    """`images` uint8 [N, height, width, channels], `classes` int32 [N] into `labels`."""

    images: np.ndarray
    classes: np.ndarray
    paths: list[Path]
    labels: tuple[str, ...]
    left_out: list[str]

    def of(self, which: np.ndarray) -> "Pictures":
        paths = [self.paths[at] for at in which]
        return self._replace(images=self.images[which], classes=self.classes[which], paths=paths)

    def counts(self) -> np.ndarray:
        return np.bincount(self.classes, minlength=len(self.labels))


def prepared(picture: Image.Image, size: tuple[int, int], colour: str) -> np.ndarray:
    """uint8 [height, width, channels] of a decoded picture; `size` is (height, width)."""
    upright = ImageOps.exif_transpose(picture).convert(MODES[colour])
    pixels = upright.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(pixels).reshape(*size, -1)


def load(path: Path, size: tuple[int, int], colour: str) -> np.ndarray:
    """Raises Refused with what is wrong with the picture."""
    try:
        with Image.open(path) as picture:
            if picture.format not in FORMATS:
                raise Refused(f"is {picture.format}, which Picket does not decode")
            if picture.mode not in PLAIN_MODES or "transparency" in picture.info:
                what = "transparent" if "transparency" in picture.info else f"in mode {picture.mode}"
                raise Refused(f"is {what}: 8 bits of grey or RGB are needed, opaque")
            return prepared(picture, size, colour)
    except UnidentifiedImageError:
        raise Refused("is no picture") from None
    # Pillow's decoders raise what they please about damaged data.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise Refused(f"is damaged: {error}") from None


def read(folder: Path, size: tuple[int, int], colour: str) -> Pictures:
    """Raises Refused where there are fewer than two classes or too few pictures of one."""
    classes_of = sorted(at for at in folder.iterdir() if at.is_dir() and not at.name.startswith("."))
    labels = tuple(at.name for at in classes_of)
    if len(labels) < 2:
        raise Refused(f"{folder} has {len(labels)} folders, one for each of two classes or more is needed")
    images, classes, paths, left_out, seen = [], [], [], [], {}
    for which, label in enumerate(labels):
        check_label(label)
        for path in sorted(at for at in classes_of[which].iterdir() if not at.name.startswith(".")):
            try:
                image = load(path, size, colour)
            except Refused as refused:
                left_out.append(f"{path} {refused}")
                continue
            twin = seen.setdefault(hashlib.sha256(image).digest(), path)
            if twin.parent != path.parent:
                raise Refused(f"{twin} and {path} show the same, but are of two classes")
            if twin != path:
                left_out.append(f"{path} shows the same as {twin.name}")
                continue
            images.append(image)
            classes.append(which)
            paths.append(path)
    for which, label in enumerate(labels):
        count = classes.count(which)
        if count < CLASS_PICTURES_MIN:
            first = f"; left out: {left_out[0]}" if left_out else ""
            raise Refused(f"{label} has {count} pictures, at least {CLASS_PICTURES_MIN} are needed{first}")
    return Pictures(np.stack(images), np.array(classes, np.int32), paths, labels, left_out)


def check_label(label: str) -> None:
    size = len(label.encode(errors="replace"))
    if size > LABEL_BYTES_MAX or not label.isprintable():
        most = f"at most {LABEL_BYTES_MAX} bytes, none of them a control character"
        raise Refused(f"{label!r} is no label: {most}")


def split(pictures: Pictures, seed: int) -> tuple[Pictures, Pictures]:
    """What is learnt from and what is held out, of each class the same share."""
    rng = np.random.default_rng(seed)
    learnt, held = [], []
    for which in range(len(pictures.labels)):
        order = rng.permutation(np.flatnonzero(pictures.classes == which))
        count = round(len(order) * HELD_OUT_SHARE)
        held += sorted(order[:count])
        learnt += sorted(order[count:])
    return pictures.of(np.array(learnt)), pictures.of(np.array(held))
