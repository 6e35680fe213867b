#!/usr/bin/env python3
"""Write the golden sample of the embedded model: a picture and the logits of ONNX Runtime for it.

    python3 golden.py

golden.png is a copy of the fixture cat.png, which has 32x32 pixels, so that what the daemon does to
it is decoding and nothing else. golden.logits holds one logit a line, in class order. The daemon
refuses to start when its own logits for the picture differ from these by more than 1e-3, and every
worker runs the picture again and again while it lives.
"""
import pathlib
import shutil

import numpy as np
import onnxruntime
from PIL import Image

HERE = pathlib.Path(__file__).parent


def main() -> None:
    shutil.copyfile(HERE.parent / "tests/data/cifar10/cat.png", HERE / "golden.png")
    pixels = np.asarray(Image.open(HERE / "golden.png").convert("RGB"))
    assert pixels.shape == (32, 32, 3), pixels.shape
    session = onnxruntime.InferenceSession(HERE / "cifar10-int8.onnx")
    # The model card's preprocessing: pixel - 128 as int8, NCHW.
    tensor = (pixels.astype(np.int16) - 128).astype(np.int8).transpose(2, 0, 1)[None]
    logits = session.run(None, {session.get_inputs()[0].name: tensor})[0][0]
    (HERE / "golden.logits").write_text("".join(f"{logit:.6f}\n" for logit in logits))
    print("golden logits", [round(float(logit), 6) for logit in logits])


if __name__ == "__main__":
    main()
