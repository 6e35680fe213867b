#!/usr/bin/env python3
"""Train the integer network on, with the images that were held out among the rest.

    python3 finish.py [--from MODEL.onnx] [--epochs N] [--threads N] [--work DIR]

By now nothing is left to choose: all 50,000 training images are used, for a number of epochs that is
fixed beforehand, and the running average of the weights is kept. Reads int8.pt, writes final.pt.
`--from` takes the network out of a file that export.py wrote, and writes int8.pt of it first.
"""
import sys
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from net import CLASSES, LAYERS, PIXEL_STEPS, PIXEL_ZERO
from quantise import QuantisedNet, fine_tune, integers
from train import SEED, arguments, parser, split

EPOCHS = 12
RATE = 4e-3


def published(path: Path) -> dict:
    """What `integers` gave for the network in this file; its last layer without the temperature."""
    model = onnx.load(path)
    value = {one.name: numpy_helper.to_array(one).copy() for one in model.graph.initializer}
    temperature = next(float(p.value) for p in model.metadata_props if p.key == "temperature")
    layers = [
        {
            "weight": torch.from_numpy(value[f"weight{at}"]),
            "weight_scale": torch.from_numpy(value[f"weight_scale{at}"]),
            "bias": torch.from_numpy(value[f"bias{at}"]),
            "scale_out": value[f"scale{at}"].item(),
            "stride": stride,
        }
        for at, (_, stride) in enumerate(LAYERS)
    ]
    head = {
        "weight": torch.from_numpy(value["head_weight"]) * temperature,
        "bias": torch.from_numpy(value["head_bias"]) * temperature,
    }
    return {"input_scale": 1 / PIXEL_STEPS, "input_zero": PIXEL_ZERO, "layers": layers, "head": head}


def trainable(quantised: dict) -> QuantisedNet:
    """The network that `integers` was given, but for what rounding took."""
    layers, scale_in = [], quantised["input_scale"]
    for layer in quantised["layers"]:
        scale = layer["weight_scale"].double()
        weight = layer["weight"].double() * scale[:, None, None, None]
        layers.append((weight, layer["bias"].double() * scale * scale_in, layer["stride"]))
        scale_in = layer["scale_out"]
    head = nn.Linear(quantised["head"]["weight"].shape[1], CLASSES)
    head.load_state_dict(quantised["head"])
    net = QuantisedNet(layers, head)
    for conv, layer in zip(net.convs, quantised["layers"]):
        conv.scale_out.fill_(layer["scale_out"])
    return net


def main() -> None:
    options = parser(__doc__.splitlines()[0], EPOCHS)
    options.add_argument("--from", dest="source", type=Path, help="a file that export.py wrote")
    args = arguments(options)
    torch.manual_seed(SEED + 1)
    if args.source:
        args.work.mkdir(parents=True, exist_ok=True)
        torch.save(published(args.source), args.work / "int8.pt")
    try:
        quantised = torch.load(args.work / "int8.pt", weights_only=True)
    except FileNotFoundError:
        sys.exit(f"finish: {args.work} holds no int8.pt, run quantise.py first")
    images, labels, held_images, held_labels = split(args.cache)
    all_images, all_labels = torch.cat([images, held_images]), torch.cat([labels, held_labels])
    average = fine_tune(trainable(quantised), args.epochs, RATE, all_images, all_labels)
    torch.save(integers(average), args.work / "final.pt")
    print("wrote", args.work / "final.pt")


if __name__ == "__main__":
    main()
