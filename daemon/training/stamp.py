#!/usr/bin/env python3
"""Write the metadata that picket reads into an ONNX classifier.

    pip install onnx onnxruntime numpy
    python3 stamp.py IN.onnx OUT.onnx --name cifar10-plain --version 1.0.0

Keys written to metadata_props: name, version, labels (comma separated, in class order) and
golden_logits: the logits that ONNX Runtime gives for the golden image, whose byte i
(row-major HWC) is (31*i*i + 7*i) mod 256. The daemon runs that image once at start and
refuses a model whose answer differs: a damaged file or a kernel that this CPU gets wrong.
The model's input is NCHW with fixed channels, height and width.
"""
import argparse

import numpy as np
import onnx

from reference import session

CIFAR10 = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"


def golden_image(height: int, width: int, channels: int) -> np.ndarray:
    i = np.arange(height * width * channels, dtype=np.int64)
    return ((31 * i * i + 7 * i) % 256).astype(np.uint8).reshape(height, width, channels)


def stamp(model: onnx.ModelProto, **properties: str) -> np.ndarray:
    """Replaces the model's metadata by these properties and the golden logits, which it returns."""
    reference = session(model.SerializeToString())
    (entry,) = reference.get_inputs()
    channels, height, width = entry.shape[1:]
    pixels = golden_image(height, width, channels).transpose(2, 0, 1)[None]
    if entry.type == "tensor(int8)":
        pixels = (pixels.astype(np.int16) - 128).astype(np.int8)
    elif entry.type == "tensor(float)":
        pixels = pixels.astype(np.float32)
    (logits,) = reference.run(None, {entry.name: pixels})[0]
    del model.metadata_props[:]
    stated = ",".join(f"{x:.5f}" for x in logits)
    onnx.helper.set_model_props(model, {**properties, "golden_logits": stated})
    model.producer_name = "picket"
    return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--labels", default=CIFAR10)
    args = parser.parse_args()

    model = onnx.load(args.source)
    logits = stamp(model, name=args.name, version=args.version, labels=args.labels)
    onnx.save(model, args.target)
    print(args.target, "golden logits", [round(float(x), 3) for x in logits])


if __name__ == "__main__":
    main()
