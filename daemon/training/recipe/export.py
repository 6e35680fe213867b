#!/usr/bin/env python3
"""Write the integer network as ONNX: standard QLinearConv from raw u8 pixels on, then the mean.

    python3 export.py OUT.onnx --version VERSION [--work DIR]

Divides the last layer by the temperature that makes confidences true on the held-out images
(Guo et al. 2017, https://arxiv.org/abs/1706.04599), so that the model carries it. The temperature is
that of int8.pt, which has not seen these images; what is written is final.pt.
"""
import argparse
import sys
from pathlib import Path

import onnx
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import qlinear  # noqa: E402
from measure import best_temperature  # noqa: E402
from reference import logits_of  # noqa: E402
from stamp import CIFAR10, stamp  # noqa: E402

from train import WORK, split

NAME = "cifar10-plain"


def graph(quantised: dict, temperature: float) -> onnx.ModelProto:
    """The network of `quantise.integers`, for CIFAR-10's pictures."""
    arrays = {
        **quantised,
        "layers": [{key: array(value) for key, value in layer.items()} for layer in quantised["layers"]],
        "head": {key: array(value) for key, value in quantised["head"].items()},
    }
    return qlinear.graph(arrays, temperature, (3, 32, 32), "cifar10")


def array(value):
    return value.numpy() if isinstance(value, torch.Tensor) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--work", type=Path, default=WORK, help="default: %(default)s")
    parser.add_argument("--cache", type=Path, help="of the data set")
    args = parser.parse_args()
    try:
        chosen = torch.load(args.work / "int8.pt", weights_only=True)
        final = torch.load(args.work / "final.pt", weights_only=True)
    except FileNotFoundError as error:
        sys.exit(f"export: {error.filename} is missing, run quantise.py and finish.py first")
    _, _, images, labels = split(args.cache)
    logits, labels = logits_of(graph(chosen, 1.0).SerializeToString(), images.numpy()), labels.numpy()
    temperature = best_temperature(logits, labels)
    right = (logits.argmax(1) == labels).mean()
    print(f"held out {right:.4f}, temperature {temperature:.4f}")
    model = graph(final, temperature)
    stated = f"{temperature:.6f}"
    stamp(model, name=NAME, version=args.version, labels=CIFAR10, temperature=stated)
    onnx.save(model, args.target)
    print("wrote", args.target)


if __name__ == "__main__":
    main()
