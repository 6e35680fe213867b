#!/usr/bin/env python3
"""Write what ONNX Runtime answers with the embedded model: to the golden sample and the fixtures.

    python3 golden.py

golden.png is a copy of the fixture cat.png, which has 32x32 pixels, so that what the daemon does to
it is decoding and nothing else. golden.logits holds one logit a line, in class order. The daemon
refuses to start when its own logits for the picture differ from these by more than 1e-4, and every
worker runs the picture again and again while it lives.

daemon/tests/data/cifar10/logits.txt holds a line for each fixture of the tests: its label, its logits.
"""
import pathlib
import shutil

import numpy as np
from PIL import Image

from reference import session

HERE = pathlib.Path(__file__).resolve().parent
EMBEDDED = HERE.parent / "crates/classifier/embedded"
FIXTURES = HERE.parent / "tests/data/cifar10"


def logits(reference, picture: pathlib.Path) -> list[str]:
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape == (32, 32, 3), pixels.shape
    # The model card's preprocessing: raw pixels, NCHW.
    tensor = pixels.transpose(2, 0, 1)[None]
    found = reference.run(None, {reference.get_inputs()[0].name: tensor})[0][0]
    return [f"{logit:.6f}" for logit in found]


def main() -> None:
    shutil.copyfile(FIXTURES / "cat.png", EMBEDDED / "golden.png")
    reference = session(EMBEDDED / "cifar10-int8.onnx")
    golden = logits(reference, EMBEDDED / "golden.png")
    (EMBEDDED / "golden.logits").write_text("".join(f"{logit}\n" for logit in golden))
    print("golden logits", *golden)
    pictures = sorted(FIXTURES.glob("*.png"))
    lines = [" ".join([picture.stem, *logits(reference, picture)]) for picture in pictures]
    (FIXTURES / "logits.txt").write_text("\n".join(lines) + "\n")
    print(len(lines), "fixtures")


if __name__ == "__main__":
    main()
